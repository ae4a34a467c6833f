"""Every list, by pages and by cursor: each item once, in the same order, also while new ones are being made."""

import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.customer import Customer
from tests.support.http_client import Answer
from tests.support.organization import Organization
from tests.support.polling import until
from tests.support.stack import Stack

FIELDS = {"items", "total", "page", "pageSize", "hasNextPage", "nextCursor"}


@dataclass(frozen=True)
class Listing:
    """A list of the API. `$driver` in its path is this module's driver of the wallet."""

    name: str
    path: str
    default_size: int
    filters: tuple[tuple[str, str, str], ...]  # query parameter, value, the item's field


LISTINGS = [
    Listing("drivers", "/api/v1/drivers", 50, (("status", "active", "status"),)),
    Listing("payouts", "/api/v1/payouts", 50, (("status", "completed", "status"), ("driverId", "$driver", "driverId"))),
    Listing("driver's payouts", "/api/v1/drivers/$driver/payouts", 50, ()),
    Listing("transactions", "/api/v1/funding/transactions", 50, (("type", "credit", "type"),)),
    Listing("batches", "/api/v1/batches", 20, (("status", "queued", "status"),)),
    Listing("scheduled payouts", "/api/v1/scheduled-payouts", 20, (("status", "queued", "status"),)),
    Listing("webhook logs", "/api/v1/webhooks/logs", 50, (("event", "payout.completed", "event"),)),
]
every_list = pytest.mark.parametrize("listing", LISTINGS, ids=[listing.name for listing in LISTINGS])


class Reader:
    """Someone who reads the lists of one wallet and can make more to list."""

    def __init__(self, customer: Customer, driver_id: str) -> None:
        self.customer = customer
        self.driver_id = driver_id

    def ask(self, listing: Listing, **query: object) -> Answer:
        filled = {name: self.driver_id if value == "$driver" else value for name, value in query.items()}
        return self.customer.get(listing.path.replace("$driver", self.driver_id), **filled)

    def pages(self, listing: Listing, size: int, **filters: object) -> list[Any]:
        """The data of each page, by number."""
        found = []
        while not found or found[-1]["hasNextPage"]:
            found.append(self.ask(listing, page=len(found) + 1, pageSize=size, **filters).data)
            assert len(found) < 1_000, "does it end?"
        return found

    def cursor_pages(
        self, listing: Listing, size: int, between: Callable[[], object] = lambda: None, **filters: object
    ) -> list[Any]:
        """The data of each page, by cursor; `between` is called after each."""
        found = [self.ask(listing, pageSize=size, **filters).data]
        while found[-1]["nextCursor"] is not None:
            between()
            cursor = found[-1]["nextCursor"]
            found.append(self.ask(listing, cursor=cursor, pageSize=size, **filters).data)
            assert len(found) < 1_000, "does it end?"
        return found

    def everything(self, listing: Listing) -> list[str]:
        return ids(self.cursor_pages(listing, 100))

    def small(self, listing: Listing) -> int:
        """A page size that makes several pages, and not too many."""
        return min(100, max(2, int(self.ask(listing, pageSize=1).data["total"]) // 6))

    def make(self, listing: Listing) -> None:
        """One more item in the list, or more."""
        match listing.name:
            case "drivers":
                self.customer.register("Paula Paging")
            case "batches":
                self.batch()
            case "scheduled payouts":
                self.batch(scheduledFor=(datetime.now(UTC) + timedelta(days=360)).isoformat())
            case _:
                self.bulk(2)

    def batch(self, **more: str) -> None:
        payouts = [{"driverId": self.driver_id, "amount": 1_000}]
        self.customer.post("/api/v1/batches", {"name": f"Paging {uuid.uuid4().hex}", "payouts": payouts, **more})

    def bulk(self, count: int) -> list[str]:
        """Payouts that are made at the same instant; their ids."""
        body = {"payouts": [{"driverId": self.driver_id, "amount": 1_000} for _ in range(count)]}
        return [result["item"]["id"] for result in self.customer.post("/api/v1/payouts/bulk", body).data["results"]]


def ids(pages: list[Any]) -> list[str]:
    return [item["id"] for page in pages for item in page["items"]]


def _filled(customer: Customer, count: int) -> Reader:
    """A wallet with at least `count` in each list, at rest."""
    reader = Reader(customer, str(customer.verified_driver("Page Turner")["id"]))
    paid = reader.bulk(count) + reader.bulk(count)
    for listing in LISTINGS:
        if listing.name in ("drivers", "batches", "scheduled payouts"):
            for _ in range(count):
                reader.make(listing)
    for payout_id in paid:
        customer.until_payout(payout_id, "completed")
    return reader


@pytest.fixture(scope="module")
def organization(fast_stack: Stack) -> Organization:
    """An organization of this module: with every payout of the other tests, each walk would take a hundred requests."""
    return Organization(fast_stack)


@pytest.fixture(scope="module")
def customer(organization: Organization) -> Customer:
    customer = organization.sandbox()
    customer.fund(10_000_000)
    return customer


@pytest.fixture(scope="module")
def production(organization: Organization) -> Customer:
    return organization.production()


@pytest.fixture(scope="module")
def reader(customer: Customer) -> Reader:
    return _filled(customer, 7)


@pytest.fixture(scope="module")
def stranger(production: Customer) -> Reader:
    """Another wallet; an earlier test may have emptied it."""
    production.fund(1_000_000)
    return _filled(production, 3)


def unchanged(reader: Reader, listing: Listing, walk: Callable[[], Any]) -> Any:
    """What `walk` gives when nothing came meanwhile: late webhooks of earlier tests may come at any time."""
    for _ in range(10):
        before = reader.everything(listing)
        walked = walk()
        if reader.everything(listing) == before:
            return walked
    raise AssertionError(f"{listing.name} do not come to rest")


@every_list
def test_pages_and_cursors_show_the_same(reader: Reader, listing: Listing) -> None:
    # When a list is read by page and by cursor
    size = reader.small(listing)
    pages, cursor_pages = unchanged(
        reader, listing, lambda: (reader.pages(listing, size), reader.cursor_pages(listing, size))
    )
    # Then both have each item once, in one order
    assert ids(pages) == ids(cursor_pages)
    assert len(set(ids(pages))) == len(ids(pages)) == pages[0]["total"]
    for walked in (pages, cursor_pages):
        # and all pages but the last are full, say that there is more, and have a cursor
        assert len(walked) > 2
        assert [len(data["items"]) for data in walked[:-1]] == [size] * (len(walked) - 1)
        assert 0 < len(walked[-1]["items"]) <= size
        assert [data["hasNextPage"] for data in walked] == [True] * (len(walked) - 1) + [False]
        assert [data["nextCursor"] is not None for data in walked] == [data["hasNextPage"] for data in walked]
        assert {(data["total"], data["pageSize"]) for data in walked} == {(pages[0]["total"], size)}
        assert all(data.keys() >= FIELDS for data in walked)
    # and know their number, except where a cursor led
    assert [data["page"] for data in pages] == list(range(1, len(pages) + 1))
    assert [data["page"] for data in cursor_pages] == [1] + [None] * (len(cursor_pages) - 1)


@every_list
def test_cursor_of_a_numbered_page_leads_to_the_next(reader: Reader, listing: Listing) -> None:
    def walk() -> tuple[Any, Any]:
        second = reader.ask(listing, page=2, pageSize=2).data
        return reader.ask(listing, cursor=second["nextCursor"], pageSize=2).data, reader.ask(
            listing, page=3, pageSize=2
        ).data

    behind, third = unchanged(reader, listing, walk)
    assert behind["items"] == third["items"]


@every_list
def test_page_size_may_change_on_the_way(reader: Reader, listing: Listing) -> None:
    def walk() -> list[str]:
        found, sizes = [reader.ask(listing, pageSize=1).data], iter([3, 1, 2, *[100] * 1_000])
        while found[-1]["nextCursor"]:
            found.append(reader.ask(listing, cursor=found[-1]["nextCursor"], pageSize=next(sizes)).data)
        return ids(found)

    walked, everything = unchanged(reader, listing, lambda: (walk(), reader.everything(listing)))
    assert walked == everything


@every_list
def test_new_items_neither_hide_nor_repeat_old_ones(reader: Reader, listing: Listing) -> None:
    # Given what is there
    before = reader.everything(listing)
    # When something is made after each page of a walk
    walked = ids(reader.cursor_pages(listing, reader.small(listing), between=lambda: reader.make(listing)))
    # Then the walk shows nothing twice, and what was there in its order
    assert len(set(walked)) == len(walked)
    assert [item for item in walked if item in set(before)] == before
    # and the new is in the list, once
    after = reader.everything(listing)
    assert len(set(after)) == len(after)
    assert set(after) >= set(before)
    assert listing.name == "webhook logs" or len(after) > len(before)


@pytest.mark.parametrize("listing", [LISTINGS[1], LISTINGS[2], LISTINGS[3]], ids=lambda listing: listing.name)
def test_walks_while_others_pay(reader: Reader, listing: Listing) -> None:
    # Given two clients that pay as fast as they can
    made: list[str] = []
    stop = threading.Event()

    def pay() -> None:
        for _ in range(40):
            if not stop.is_set():
                made.extend(reader.bulk(3))

    before = reader.everything(listing)
    size = min(100, max(2, len(before) // 12))
    with ThreadPoolExecutor(2) as pool:
        paying = [pool.submit(pay) for _ in range(2)]
        # When somebody walks over the list, twice
        walks = [ids(reader.cursor_pages(listing, size)) for _ in range(2)]
        stop.set()
    for one in paying:
        one.result()
    # Then each walk shows what was there before, each once and in order, and nothing twice
    for walked in walks:
        assert len(set(walked)) == len(walked)
        assert [item for item in walked if item in set(before)] == before
    # and afterwards every new payout is in the list
    assert made
    if listing.name != "transactions":
        assert set(ids(reader.cursor_pages(listing, 100))) >= set(made)


@every_list
def test_defaults(reader: Reader, listing: Listing) -> None:
    data = reader.ask(listing).data
    assert (data["page"], data["pageSize"]) == (1, listing.default_size)
    assert len(data["items"]) == min(data["total"], listing.default_size)
    assert reader.ask(listing, pageSize=100).data["pageSize"] == 100


@every_list
def test_cursor_without_page_size_has_the_default(reader: Reader, listing: Listing) -> None:
    first = reader.ask(listing, pageSize=1).data
    assert reader.ask(listing, cursor=first["nextCursor"]).data["pageSize"] == listing.default_size


@every_list
@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"pageSize": 101}, "pageSize"),
        ({"pageSize": 0}, "pageSize"),
        ({"pageSize": -1}, "pageSize"),
        ({"pageSize": "all"}, "pageSize"),
        ({"page": 0}, "page"),
        ({"page": 1_100, "pageSize": 100}, "page"),
        ({"page": 10**30}, "page"),
        ({"cursor": "garbage"}, "cursor"),
        ({"cursor": ""}, "cursor"),
        ({"cursor": "AAAA"}, "cursor"),
        ({"cursor": "bnVsbA"}, "cursor"),
        ({"cursor": "司机"}, "cursor"),
        ({"cursor": "x" * 4_000}, "cursor"),
        ({"cursor": "a\0b"}, "cursor"),
    ],
    ids=lambda value: str(value)[:40].replace("\0", "NUL"),
)
def test_wrong_page_is_refused(reader: Reader, listing: Listing, query: dict[str, object], field: str) -> None:
    answer = reader.ask(listing, **query)
    assert (answer.status, answer.error["code"]) == (400, "VALIDATION_ERROR")
    assert answer.error["details"]["field"] == field


@every_list
def test_deep_page_is_refused_and_told_of_the_cursor(reader: Reader, listing: Listing) -> None:
    assert "cursor" in reader.ask(listing, page=1_100, pageSize=100).error["message"].lower()
    # short of that there is just nothing
    data = reader.ask(listing, page=900, pageSize=100).data
    assert (data["items"], data["hasNextPage"], data["nextCursor"]) == ([], False, None)


@every_list
def test_cursor_and_page_together_are_refused(reader: Reader, listing: Listing) -> None:
    cursor = reader.ask(listing, pageSize=1).data["nextCursor"]
    for page in (1, 2):
        answer = reader.ask(listing, cursor=cursor, page=page)
        assert (answer.status, answer.error["code"]) == (400, "VALIDATION_ERROR")
        assert answer.error["details"]["field"] in ("cursor", "page")


@every_list
def test_altered_cursor_is_refused_or_shows_ones_own(reader: Reader, listing: Listing) -> None:
    cursor = reader.ask(listing, pageSize=1).data["nextCursor"]
    for altered in _altered(cursor):
        answer = reader.ask(listing, cursor=altered, pageSize=100)
        assert answer.status in (200, 400), altered
        if answer.status == 400:
            assert answer.error["details"]["field"] == "cursor"
        else:
            assert set(ids([answer.data])) <= set(reader.everything(listing))


def _altered(cursor: str) -> Iterator[str]:
    yield cursor[:-1]
    yield cursor[1:]
    yield cursor + "A"
    yield cursor + cursor
    yield cursor.swapcase()
    yield cursor[::-1]
    for at in range(0, len(cursor), max(1, len(cursor) // 12)):
        yield cursor[:at] + ("A" if cursor[at] != "A" else "B") + cursor[at + 1 :]


@every_list
def test_cursor_of_another_list_is_no_error_of_ours(reader: Reader, listing: Listing) -> None:
    """Refused, or a place in this list; what it shows is of this list."""
    for other in LISTINGS:
        if other != listing:
            first = reader.ask(other, pageSize=1)
            if first.status == 404:
                continue  # its own tests tell
            answer = reader.ask(listing, cursor=first.data["nextCursor"], pageSize=100)
            assert answer.status in (200, 400), other.name
            assert answer.status == 400 or set(ids([answer.data])) <= set(reader.everything(listing))


@every_list
def test_cursor_of_another_wallet_shows_nothing_of_it(reader: Reader, stranger: Reader, listing: Listing) -> None:
    for one, other in ((reader, stranger), (stranger, reader)):
        cursor = one.ask(listing, pageSize=1).data["nextCursor"]
        assert cursor, "there is more than one item"
        answer = other.ask(listing, cursor=cursor, pageSize=100)
        if answer.status == 400:
            assert answer.error["details"]["field"] == "cursor"
        else:
            theirs, own = set(ids([answer.data])), set(other.everything(listing))
            assert theirs <= own
            assert not theirs & set(one.everything(listing))


@every_list
def test_filtered_list_is_walked_alike(reader: Reader, listing: Listing) -> None:
    for parameter, value, field in listing.filters:
        query = {parameter: reader.driver_id if value == "$driver" else value}

        def walk(query: dict[str, str] = query) -> tuple[list[Any], list[Any], list[Any]]:
            whole = reader.pages(listing, 100)
            size = max(2, len(ids(reader.pages(listing, 100, **query))) // 5)
            return whole, reader.pages(listing, min(size, 100), **query), reader.cursor_pages(listing, 7, **query)

        whole, pages, cursor_pages = unchanged(reader, listing, walk)
        wanted = [item["id"] for data in whole for item in data["items"] if item[field] == query[parameter]]
        assert wanted, f"the tests have made none of {query}"
        assert ids(pages) == wanted
        assert ids(cursor_pages) == wanted
        assert pages[0]["total"] == len(wanted)


def test_full_last_page_has_none_behind_it(reader: Reader, customer: Customer) -> None:
    # Given a driver with exactly six payouts, made together
    driver_id = str(customer.verified_driver("Sixta Six")["id"])
    sixta = Reader(customer, driver_id)
    made = sixta.bulk(6)
    for size, count in ((3, 2), (6, 1), (2, 3), (7, 1)):
        for walked in (sixta.pages(LISTINGS[2], size), sixta.cursor_pages(LISTINGS[2], size)):
            assert [data["hasNextPage"] for data in walked] == [True] * (count - 1) + [False]
            assert [data["nextCursor"] is None for data in walked] == [False] * (count - 1) + [True]
            assert sorted(ids(walked)) == sorted(made)


def test_empty_list(customer: Customer) -> None:
    nobody = Reader(customer, str(customer.register("Nora None")["id"]))
    data = nobody.ask(LISTINGS[2]).data
    assert (data["items"], data["total"], data["page"]) == ([], 0, 1)
    assert (data["hasNextPage"], data["nextCursor"]) == (False, None)


@every_list
def test_page_behind_the_last_is_empty(reader: Reader, listing: Listing) -> None:
    total = reader.ask(listing, pageSize=1).data["total"]
    data = reader.ask(listing, page=total // 100 + 3, pageSize=100).data
    assert (data["items"], data["hasNextPage"], data["nextCursor"]) == ([], False, None)
    assert data["total"] >= total


def test_batches_come_newest_first(reader: Reader) -> None:
    for listing in (LISTINGS[4], LISTINGS[5]):
        times = [item["createdAt"] for data in reader.pages(listing, 100) for item in data["items"]]
        if listing.name == "batches":
            assert times == sorted(times, reverse=True)
        assert times


def test_webhook_logs_are_of_ones_own_payouts(reader: Reader, stranger: Reader) -> None:
    listing = LISTINGS[6]
    for one in (reader, stranger):
        paid = {item["payoutId"] for data in one.pages(listing, 100) for item in data["items"]}
        assert paid <= set(one.everything(LISTINGS[1]))
        assert paid >= set(one.everything(LISTINGS[2])[-6:])


def test_total_follows_what_is_made(reader: Reader) -> None:
    listing = LISTINGS[2]
    before = reader.ask(listing).data["total"]
    reader.bulk(5)
    assert reader.ask(listing).data["total"] == before + 5
    until(lambda: reader.ask(LISTINGS[1], pageSize=1).data["total"] >= before + 5, "the payouts are counted")
