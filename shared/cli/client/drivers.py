"""The drivers that a file names, as the API knows them: who they are, and whether they can be paid."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from shared.cli.client.api import ApiClient
from shared.cli.client.cells import sanitize_text
from shared.cli.client.csv_table import FileProblem
from shared.cli.client.settlement_file import Settlement, SettlementRow

SAY_EVERY = 1_000


class ApiDriver(NamedTuple):
    """A driver, as far as paying him goes."""

    id: str
    ovn_driver_id: str
    name: str
    status: str
    kyc_status: str


class DriverIndex:
    """Drivers by both of their ids."""

    def __init__(self, drivers: Iterable[ApiDriver]) -> None:
        known = list(drivers)
        self._by_id = {driver.id: driver for driver in known}
        self._by_ovn_id = {driver.ovn_driver_id: driver for driver in known}
        self._by_folded = {driver.ovn_driver_id.casefold(): driver for driver in known}

    def find(self, reference: str) -> ApiDriver | None:
        """Who is meant: OVN Pay's id, else the carrier's own."""
        return self._by_id.get(reference) or self._by_ovn_id.get(reference)

    def problem(self, reference: str) -> str | None:
        """Why whoever is meant can't be paid; None: he can be."""
        driver = self.find(reference)
        if driver is None:
            like = self._by_folded.get(reference.casefold())
            hint = f"; did you mean {sanitize_text(like.ovn_driver_id)}?" if like else ""
            return f"no driver {sanitize_text(reference)}{hint}"
        who = f"{sanitize_text(driver.name)} ({driver.id})"
        if driver.kyc_status == "rejected":
            return f"{who} can't be paid: the provider could not verify him"
        if driver.status == "inactive":
            return f"{who} can't be paid: he is inactive"
        if driver.status != "active" or driver.kyc_status != "verified":
            return f"{who} can't be paid yet: the provider has not verified him (status {driver.status})"
        return None


async def load_driver_index(api: ApiClient, references: Iterable[str], say: Callable[[str], None]) -> DriverIndex:
    """Walks the list of drivers until everybody who is named is found, or to its end."""
    wanted, found = set(references) - {""}, list[ApiDriver]()
    if not wanted:
        return DriverIndex(found)
    seen = 0
    async for item in api.each("/drivers"):
        seen += 1
        if seen % SAY_EVERY == 0:
            say(f"reading drivers: {seen:,}")
        found.append(_driver(item))
        wanted -= {item["id"], item["ovnDriverId"]}
        if not wanted:
            break
    return DriverIndex(found)


def _driver(item: dict[str, Any]) -> ApiDriver:
    return ApiDriver(item["id"], item["ovnDriverId"], item["name"], item["status"], item["kycStatus"])


def check_settlement_drivers(
    settlement: Settlement, roster: DriverIndex, *, allow_duplicates: bool
) -> list[FileProblem]:
    """What is wrong with rows that are well written: whom they name, and what they ask for twice."""
    problems: list[FileProblem] = []
    driver_column = settlement.columns.get("driver", "driver")
    load_column = settlement.columns.get("load", "loadId")
    loads: dict[tuple[str, str], int] = {}
    whole: dict[tuple[str, int, str | None, str | None], int] = {}
    for row in settlement.rows:
        if not row.driver:
            continue
        if (problem := roster.problem(row.driver)) is not None:
            problems.append(FileProblem(row.line, driver_column, problem))
        who = _who(roster, row)
        if allow_duplicates or not row.amount_cents:
            continue
        same = whole.setdefault((who, row.amount_cents, row.load_id, row.description), row.line)
        load = loads.setdefault((who, row.load_id), row.line) if row.load_id else row.line
        if same != row.line:
            problems.append(FileProblem(row.line, "", f"is the same as row {same}; --allow-duplicates pays both"))
        elif load != row.line:
            message = f"{row.load_id} is paid to this driver in row {load} already; --allow-duplicates pays both"
            problems.append(FileProblem(row.line, load_column, message))
    return problems


def _who(roster: DriverIndex, row: SettlementRow) -> str:
    driver = roster.find(row.driver)
    return driver.id if driver else row.driver
