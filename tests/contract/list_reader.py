"""A reader of the API's lists, by page and by cursor, shared by the tests of paging."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.support.customer import Customer
from tests.support.http_client import Answer

FIELDS = {"items", "total", "page", "pageSize", "hasNextPage", "nextCursor"}


@dataclass(frozen=True)
class Listing:
    """A list of the API. `$driver` in its path stands for the reader's driver."""

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


class ListReader:
    """Reads the lists of a wallet, and adds items to them."""

    def __init__(self, customer: Customer, driver_id: str) -> None:
        self.customer = customer
        self.driver_id = driver_id

    def read(self, listing: Listing, **query: object) -> Answer:
        filled = {name: self.driver_id if value == "$driver" else value for name, value in query.items()}
        return self.customer.get(listing.path.replace("$driver", self.driver_id), **filled)

    def pages(self, listing: Listing, size: int, **filters: object) -> list[Any]:
        """Read all pages by number."""
        found = []
        while not found or found[-1]["hasNextPage"]:
            found.append(self.read(listing, page=len(found) + 1, pageSize=size, **filters).data)
            assert len(found) < 1_000, "the list does not end"
        return found

    def cursor_pages(
        self, listing: Listing, size: int, between: Callable[[], object] = lambda: None, **filters: object
    ) -> list[Any]:
        """Read all pages by cursor; call `between` after each."""
        found = [self.read(listing, pageSize=size, **filters).data]
        while found[-1]["nextCursor"] is not None:
            between()
            cursor = found[-1]["nextCursor"]
            found.append(self.read(listing, cursor=cursor, pageSize=size, **filters).data)
            assert len(found) < 1_000, "the list does not end"
        return found

    def all_ids(self, listing: Listing) -> list[str]:
        return ids(self.cursor_pages(listing, 100))

    def small_page_size(self, listing: Listing) -> int:
        """A page size that results in several pages."""
        return min(100, max(2, int(self.read(listing, pageSize=1).data["total"]) // 6))

    def add_item(self, listing: Listing) -> None:
        """Add at least one item to a list."""
        match listing.name:
            case "drivers":
                self.customer.register("Paula Paging")
            case "batches":
                self.add_batch()
            case "scheduled payouts":
                self.add_batch(scheduledFor=(datetime.now(UTC) + timedelta(days=360)).isoformat())
            case _:
                self.add_payouts(2)

    def add_batch(self, **more: str) -> None:
        payouts = [{"driverId": self.driver_id, "amount": 1_000}]
        self.customer.post("/api/v1/batches", {"name": f"Paging {uuid.uuid4().hex}", "payouts": payouts, **more})

    def add_payouts(self, count: int) -> list[str]:
        """Create payouts with the same timestamp; return their ids."""
        body = {"payouts": [{"driverId": self.driver_id, "amount": 1_000} for _ in range(count)]}
        return [result["item"]["id"] for result in self.customer.post("/api/v1/payouts/bulk", body).data["results"]]


def ids(pages: list[Any]) -> list[str]:
    return [item["id"] for page in pages for item in page["items"]]


def fill_lists(customer: Customer, count: int) -> ListReader:
    """Add at least `count` items to each list of a wallet, and wait until all payouts are completed."""
    reader = ListReader(customer, str(customer.verified_driver("Page Turner")["id"]))
    paid = reader.add_payouts(count) + reader.add_payouts(count)
    for listing in LISTINGS:
        if listing.name in ("drivers", "batches", "scheduled payouts"):
            for _ in range(count):
                reader.add_item(listing)
    for payout_id in paid:
        customer.until_payout(payout_id, "completed")
    return reader


def read_unchanged(reader: ListReader, listing: Listing, walk: Callable[[], Any]) -> Any:
    """Repeat `walk` until the list does not change meanwhile: late webhooks of earlier tests can add items."""
    for _ in range(10):
        before = reader.all_ids(listing)
        walked = walk()
        if reader.all_ids(listing) == before:
            return walked
    raise AssertionError(f"{listing.name} keep changing")
