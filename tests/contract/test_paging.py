"""Each list returns each item once, in the same order, by page and by cursor, also while items are added."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.contract.list_reader import FIELDS, LISTINGS, Listing, ListReader, fill_lists, ids, read_unchanged
from tests.support.customer import Customer
from tests.support.organization import Organization
from tests.support.polling import until
from tests.support.stack import Stack

every_list = pytest.mark.parametrize("listing", LISTINGS, ids=[listing.name for listing in LISTINGS])


@pytest.fixture(scope="module")
def organization(fast_stack: Stack) -> Organization:
    """An organization of this module: the lists of a shared one are too long to read often."""
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
def reader(customer: Customer) -> ListReader:
    return fill_lists(customer, 7)


@pytest.fixture(scope="module")
def other_wallet(production: Customer) -> ListReader:
    """Another wallet; an earlier test can have emptied it."""
    production.fund(1_000_000)
    return fill_lists(production, 3)


@every_list
def test_pages_and_cursors_return_the_same_items(reader: ListReader, listing: Listing) -> None:
    # When a list is read by page and by cursor
    size = reader.small_page_size(listing)
    pages, cursor_pages = read_unchanged(
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
    # and pages have their number, except after a cursor
    assert [data["page"] for data in pages] == list(range(1, len(pages) + 1))
    assert [data["page"] for data in cursor_pages] == [1] + [None] * (len(cursor_pages) - 1)


@every_list
def test_cursor_of_a_numbered_page_continues_after_it(reader: ListReader, listing: Listing) -> None:
    def walk() -> tuple[Any, Any]:
        second = reader.read(listing, page=2, pageSize=2).data
        return reader.read(listing, cursor=second["nextCursor"], pageSize=2).data, reader.read(
            listing, page=3, pageSize=2
        ).data

    behind, third = read_unchanged(reader, listing, walk)
    assert behind["items"] == third["items"]


@every_list
def test_page_size_can_change_between_pages(reader: ListReader, listing: Listing) -> None:
    def walk() -> list[str]:
        found, sizes = [reader.read(listing, pageSize=1).data], iter([3, 1, 2, *[100] * 1_000])
        while found[-1]["nextCursor"]:
            found.append(reader.read(listing, cursor=found[-1]["nextCursor"], pageSize=next(sizes)).data)
        return ids(found)

    walked, everything = read_unchanged(reader, listing, lambda: (walk(), reader.all_ids(listing)))
    assert walked == everything


@every_list
def test_new_items_neither_hide_nor_repeat_existing_ones(reader: ListReader, listing: Listing) -> None:
    # Given the present items
    before = reader.all_ids(listing)
    # When an item is added after each page
    walked = ids(
        reader.cursor_pages(listing, reader.small_page_size(listing), between=lambda: reader.add_item(listing))
    )
    # Then nothing is returned twice, and the earlier items keep their order
    assert len(set(walked)) == len(walked)
    assert [item for item in walked if item in set(before)] == before
    # and the new items are in the list, once
    after = reader.all_ids(listing)
    assert len(set(after)) == len(after)
    assert set(after) >= set(before)
    assert listing.name == "webhook logs" or len(after) > len(before)


@pytest.mark.parametrize("listing", [LISTINGS[1], LISTINGS[2], LISTINGS[3]], ids=lambda listing: listing.name)
def test_list_is_consistent_while_payouts_are_created(reader: ListReader, listing: Listing) -> None:
    # Given two clients that create payouts as fast as possible
    made: list[str] = []
    stop = threading.Event()

    def pay() -> None:
        for _ in range(40):
            if not stop.is_set():
                made.extend(reader.add_payouts(3))

    before = reader.all_ids(listing)
    size = min(100, max(2, len(before) // 12))
    with ThreadPoolExecutor(2) as pool:
        paying = [pool.submit(pay) for _ in range(2)]
        # When the list is read twice
        walks = [ids(reader.cursor_pages(listing, size)) for _ in range(2)]
        stop.set()
    for one in paying:
        one.result()
    # Then each read returns the earlier items in order, and nothing twice
    for walked in walks:
        assert len(set(walked)) == len(walked)
        assert [item for item in walked if item in set(before)] == before
    # and afterwards every new payout is in the list
    assert made
    if listing.name != "transactions":
        assert set(ids(reader.cursor_pages(listing, 100))) >= set(made)


@every_list
def test_defaults(reader: ListReader, listing: Listing) -> None:
    data = reader.read(listing).data
    assert (data["page"], data["pageSize"]) == (1, listing.default_size)
    assert len(data["items"]) == min(data["total"], listing.default_size)
    assert reader.read(listing, pageSize=100).data["pageSize"] == 100


@every_list
def test_cursor_uses_the_default_page_size(reader: ListReader, listing: Listing) -> None:
    first = reader.read(listing, pageSize=1).data
    assert reader.read(listing, cursor=first["nextCursor"]).data["pageSize"] == listing.default_size


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
def test_invalid_page_is_rejected(reader: ListReader, listing: Listing, query: dict[str, object], field: str) -> None:
    answer = reader.read(listing, **query)
    assert (answer.status, answer.error["code"]) == (400, "VALIDATION_ERROR")
    assert answer.error["details"]["field"] == field


@every_list
def test_deep_page_is_rejected_in_favor_of_the_cursor(reader: ListReader, listing: Listing) -> None:
    assert "cursor" in reader.read(listing, page=1_100, pageSize=100).error["message"].lower()
    # a page that is less deep is empty
    data = reader.read(listing, page=900, pageSize=100).data
    assert (data["items"], data["hasNextPage"], data["nextCursor"]) == ([], False, None)


@every_list
def test_cursor_and_page_can_not_be_combined(reader: ListReader, listing: Listing) -> None:
    cursor = reader.read(listing, pageSize=1).data["nextCursor"]
    for page in (1, 2):
        answer = reader.read(listing, cursor=cursor, page=page)
        assert (answer.status, answer.error["code"]) == (400, "VALIDATION_ERROR")
        assert answer.error["details"]["field"] in ("cursor", "page")


@every_list
def test_altered_cursor_is_rejected_or_returns_own_items(reader: ListReader, listing: Listing) -> None:
    cursor = reader.read(listing, pageSize=1).data["nextCursor"]
    for altered in _altered(cursor):
        answer = reader.read(listing, cursor=altered, pageSize=100)
        assert answer.status in (200, 400), altered
        if answer.status == 400:
            assert answer.error["details"]["field"] == "cursor"
        else:
            assert set(ids([answer.data])) <= set(reader.all_ids(listing))


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
def test_cursor_of_another_list_does_not_cause_a_500(reader: ListReader, listing: Listing) -> None:
    """It is rejected, or is a position in this list."""
    for other in LISTINGS:
        if other != listing:
            first = reader.read(other, pageSize=1)
            if first.status == 404:
                continue  # covered by its own tests
            answer = reader.read(listing, cursor=first.data["nextCursor"], pageSize=100)
            assert answer.status in (200, 400), other.name
            assert answer.status == 400 or set(ids([answer.data])) <= set(reader.all_ids(listing))


@every_list
def test_cursor_of_another_wallet_returns_nothing_of_it(
    reader: ListReader, other_wallet: ListReader, listing: Listing
) -> None:
    for one, other in ((reader, other_wallet), (other_wallet, reader)):
        cursor = one.read(listing, pageSize=1).data["nextCursor"]
        assert cursor, "there is more than one item"
        answer = other.read(listing, cursor=cursor, pageSize=100)
        if answer.status == 400:
            assert answer.error["details"]["field"] == "cursor"
        else:
            theirs, own = set(ids([answer.data])), set(other.all_ids(listing))
            assert theirs <= own
            assert not theirs & set(one.all_ids(listing))


@every_list
def test_filtered_list_has_pages_and_cursors_too(reader: ListReader, listing: Listing) -> None:
    for parameter, value, field in listing.filters:
        query = {parameter: reader.driver_id if value == "$driver" else value}

        def walk(query: dict[str, str] = query) -> tuple[list[Any], list[Any], list[Any]]:
            whole = reader.pages(listing, 100)
            size = max(2, len(ids(reader.pages(listing, 100, **query))) // 5)
            return whole, reader.pages(listing, min(size, 100), **query), reader.cursor_pages(listing, 7, **query)

        whole, pages, cursor_pages = read_unchanged(reader, listing, walk)
        wanted = [item["id"] for data in whole for item in data["items"] if item[field] == query[parameter]]
        assert wanted, f"the tests have made none of {query}"
        assert ids(pages) == wanted
        assert ids(cursor_pages) == wanted
        assert pages[0]["total"] == len(wanted)


def test_full_last_page_has_no_next_page(reader: ListReader, customer: Customer) -> None:
    # Given a driver with exactly six payouts, made together
    driver_id = str(customer.verified_driver("Sixta Six")["id"])
    sixta = ListReader(customer, driver_id)
    made = sixta.add_payouts(6)
    for size, count in ((3, 2), (6, 1), (2, 3), (7, 1)):
        for walked in (sixta.pages(LISTINGS[2], size), sixta.cursor_pages(LISTINGS[2], size)):
            assert [data["hasNextPage"] for data in walked] == [True] * (count - 1) + [False]
            assert [data["nextCursor"] is None for data in walked] == [False] * (count - 1) + [True]
            assert sorted(ids(walked)) == sorted(made)


def test_empty_list(customer: Customer) -> None:
    empty = ListReader(customer, str(customer.register("Nora None")["id"]))
    data = empty.read(LISTINGS[2]).data
    assert (data["items"], data["total"], data["page"]) == ([], 0, 1)
    assert (data["hasNextPage"], data["nextCursor"]) == (False, None)


@every_list
def test_page_after_the_last_is_empty(reader: ListReader, listing: Listing) -> None:
    total = reader.read(listing, pageSize=1).data["total"]
    data = reader.read(listing, page=total // 100 + 3, pageSize=100).data
    assert (data["items"], data["hasNextPage"], data["nextCursor"]) == ([], False, None)
    assert data["total"] >= total


def test_batches_come_newest_first(reader: ListReader) -> None:
    for listing in (LISTINGS[4], LISTINGS[5]):
        times = [item["createdAt"] for data in reader.pages(listing, 100) for item in data["items"]]
        if listing.name == "batches":
            assert times == sorted(times, reverse=True)
        assert times


def test_webhook_logs_contain_only_own_payouts(reader: ListReader, other_wallet: ListReader) -> None:
    listing = LISTINGS[6]
    for one in (reader, other_wallet):
        paid = {item["payoutId"] for data in one.pages(listing, 100) for item in data["items"]}
        assert paid <= set(one.all_ids(LISTINGS[1]))
        assert paid >= set(one.all_ids(LISTINGS[2])[-6:])


def test_total_counts_new_items(reader: ListReader) -> None:
    listing = LISTINGS[2]
    before = reader.read(listing).data["total"]
    reader.add_payouts(5)
    assert reader.read(listing).data["total"] == before + 5
    until(lambda: reader.read(LISTINGS[1], pageSize=1).data["total"] >= before + 5, "the payouts are counted")
