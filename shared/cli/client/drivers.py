"""Drivers that a file names: lookup, and whether they can be paid."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from shared.cli.client.api import ApiClient
from shared.cli.client.csv_table import FileProblem
from shared.cli.client.formatting import sanitize_text
from shared.cli.client.settlement_file import Settlement, SettlementRow

PROGRESS_EVERY = 1_000


class ApiDriver(NamedTuple):
    """The fields of a driver that paying needs."""

    id: str
    ovn_driver_id: str
    name: str
    status: str
    kyc_status: str


class DriverIndex:
    """Drivers by OVN Pay's id and by the carrier's own id."""

    def __init__(self, drivers: Iterable[ApiDriver]) -> None:
        drivers = list(drivers)
        self._by_id = {driver.id: driver for driver in drivers}
        self._by_ovn_id = {driver.ovn_driver_id: driver for driver in drivers}
        self._by_folded_ovn_id = {driver.ovn_driver_id.casefold(): driver for driver in drivers}

    def find_driver(self, reference: str) -> ApiDriver | None:
        """Return the driver with this id, OVN Pay's or the carrier's."""
        return self._by_id.get(reference) or self._by_ovn_id.get(reference)

    def payment_problem(self, reference: str) -> str | None:
        """Return why the driver can't be paid, or None."""
        driver = self.find_driver(reference)
        if driver is None:
            similar = self._by_folded_ovn_id.get(reference.casefold())
            hint = f"; did you mean {sanitize_text(similar.ovn_driver_id)}?" if similar else ""
            return f"no driver {sanitize_text(reference)}{hint}"
        name = f"{sanitize_text(driver.name)} ({driver.id})"
        if driver.kyc_status == "rejected":
            return f"{name} can't be paid: the provider rejected the verification"
        if driver.status == "inactive":
            return f"{name} can't be paid: the driver is inactive"
        if driver.status != "active" or driver.kyc_status != "verified":
            return f"{name} can't be paid yet: the provider has not verified the driver (status {driver.status})"
        return None


async def load_driver_index(api: ApiClient, references: Iterable[str], info: Callable[[str], None]) -> DriverIndex:
    """Load drivers until every reference is found."""
    missing, drivers = set(references) - {""}, list[ApiDriver]()
    if not missing:
        return DriverIndex(drivers)
    async for item in api.iterate_items("/drivers"):
        drivers.append(_to_driver(item))
        if len(drivers) % PROGRESS_EVERY == 0:
            info(f"reading drivers: {len(drivers):,}")
        missing -= {item["id"], item["ovnDriverId"]}
        if not missing:
            break
    return DriverIndex(drivers)


def _to_driver(item: dict[str, Any]) -> ApiDriver:
    return ApiDriver(item["id"], item["ovnDriverId"], item["name"], item["status"], item["kycStatus"])


def check_settlement_drivers(
    settlement: Settlement, drivers: DriverIndex, *, allow_duplicates: bool
) -> list[FileProblem]:
    """Return drivers that can't be paid, and payments that occur twice."""
    problems: list[FileProblem] = []
    driver_column = settlement.columns.get("driver", "driver")
    load_column = settlement.columns.get("load", "loadId")
    first_line_of_load: dict[tuple[str, str], int] = {}
    first_line_of_payment: dict[tuple[str, int, str | None, str | None], int] = {}
    for row in settlement.rows:
        if not row.driver:
            continue
        if (problem := drivers.payment_problem(row.driver)) is not None:
            problems.append(FileProblem(row.line, driver_column, problem))
        driver_id = _driver_id(drivers, row)
        if allow_duplicates or not row.amount_cents:
            continue
        payment = (driver_id, row.amount_cents, row.load_id, row.description)
        same_line = first_line_of_payment.setdefault(payment, row.line)
        load_line = first_line_of_load.setdefault((driver_id, row.load_id), row.line) if row.load_id else row.line
        if same_line != row.line:
            message = f"is the same payment as row {same_line}; --allow-duplicates pays both"
            problems.append(FileProblem(row.line, "", message))
        elif load_line != row.line:
            message = f"row {load_line} already pays this driver for {row.load_id}; --allow-duplicates pays both"
            problems.append(FileProblem(row.line, load_column, message))
    return problems


def _driver_id(drivers: DriverIndex, row: SettlementRow) -> str:
    driver = drivers.find_driver(row.driver)
    return driver.id if driver else row.driver
