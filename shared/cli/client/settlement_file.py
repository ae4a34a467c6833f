"""A settlement file: who gets how much for which load, row by row; everything that is wrong with it, at once."""

import re
from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

from shared.cli.client import cells
from shared.cli.client.csv_table import CsvRecord, CsvTable, FileProblem

ROWS_MAX: Final = 10_000
COLUMN_NAMES: Final = {
    "driver": ("driverid", "ovndriverid", "driver"),
    "dollars": ("amount", "amountusd", "amountdollars"),
    "cents": ("amountcents",),
    "load": ("loadid", "load"),
    "description": ("description",),
    "urgency": ("urgency",),
}
"""The columns that are understood, by what they hold; case, spaces, hyphens and underscores don't matter."""
RESULT_COLUMNS: Final = ("payoutid", "netamount")
"""Together they give a results file away."""

Value = TypeVar("Value")


class SettlementRow(NamedTuple):
    """What one row asks for."""

    line: int
    cells: list[str]
    """As they are in the file."""
    driver: str
    """The driver's id, or the carrier's own id of him, as written; empty where it can't be read."""
    amount_cents: int
    """0 where it can't be read."""
    urgency: str
    load_id: str | None
    description: str | None


class Settlement(NamedTuple):
    """A file that was read."""

    table: CsvTable
    rows: list[SettlementRow]
    problems: list[FileProblem]
    """What is wrong; rows are to be paid only where nothing is."""
    unknown_columns: list[str]
    """Columns that are not handed in."""
    columns: dict[str, str]
    """The header's name of each column that is understood."""


def parse_settlement(table: CsvTable, urgency: str | None) -> Settlement:
    """The rows of a table. `urgency` is that of all, where the command names one."""
    places, problems, unknown = _places(table.header) if table.header else ({}, [], [])
    problems = [*table.problems, *problems]
    columns = {name: table.header[place] for name, place in places.items()}
    if "urgency" in places and urgency is not None:
        problems.append(FileProblem(1, columns["urgency"], "is in the file; leave --urgency out, or the column"))
    if table.header and not table.records and not problems:
        problems.append(FileProblem(None, "", "has a header and no rows"))
    if len(table.records) > ROWS_MAX:
        problems.append(
            FileProblem(None, "", f"has {len(table.records):,} rows; split it: at most {ROWS_MAX:,} go at once")
        )
    rows: list[SettlementRow] = []
    if "driver" in places and {"dollars", "cents"} & places.keys():
        rows = [_row(record, table.header, places, urgency or "standard", problems) for record in table.records]
    return Settlement(table, rows, problems, unknown, columns)


def _places(header: list[str]) -> tuple[dict[str, int], list[FileProblem], list[str]]:
    """Where each column is; what is wrong with the header; which columns are not understood."""
    meanings = {name: meaning for meaning, names in COLUMN_NAMES.items() for name in names}
    places: dict[str, int] = {}
    problems: list[FileProblem] = []
    unknown: list[str] = []
    normal = [re.sub(r"[\s_-]+", "", name.lower()) for name in header]
    if set(RESULT_COLUMNS) <= set(normal):
        problems.append(
            FileProblem(1, "", "is the header of a results file: what this command wrote, not what it pays")
        )
    for place, name in enumerate(normal):
        meaning = meanings.get(name)
        if meaning is None:
            unknown.append(cells.sanitize_text(header[place]) or f"column {place + 1}, which has no name")
        elif meaning in places:
            problems.append(
                FileProblem(1, header[place], f"says the same as the column {header[places[meaning]]!r}; keep one")
            )
        else:
            places[meaning] = place
    if "driver" not in places:
        problems.append(FileProblem(1, "", "no column for the driver: driver, driverId or ovnDriverId"))
    if {"dollars", "cents"} <= places.keys():
        problems.append(
            FileProblem(1, header[places["cents"]], f"and {header[places['dollars']]!r} are both there; keep one")
        )
    elif not {"dollars", "cents"} & places.keys():
        problems.append(FileProblem(1, "", "no column for the amount: amount (dollars) or amount_cents"))
    return places, problems, unknown


def _row(
    record: CsvRecord, header: list[str], places: dict[str, int], default_urgency: str, problems: list[FileProblem]
) -> SettlementRow:
    """One row; adds what is wrong with it to the problems."""
    if len(record.cells) != len(header):
        message = f"has {len(record.cells)} fields, the header has {len(header)}"
        problems.append(FileProblem(record.line, "", message))
        return SettlementRow(record.line, record.cells, "", 0, default_urgency, None, None)

    def read(meaning: str, how: Callable[[str], Value], otherwise: Value) -> Value:
        place = places.get(meaning)
        text = "" if place is None else record.cells[place].strip(" \xa0")
        if place is None or (not text and meaning not in ("driver", "dollars", "cents")):
            return otherwise
        try:
            return how(text)
        except cells.CellError as bad:
            problems.append(FileProblem(record.line, header[place], str(bad)))
            return otherwise

    driver = read("driver", _named, "")
    urgency = read("urgency", cells.parse_urgency, default_urgency)
    amount = "dollars" if "dollars" in places else "cents"
    exact = cells.parse_dollars if amount == "dollars" else cells.parse_cents

    def payable(text: str) -> int:
        found_cents = exact(text)
        cells.check_rail_limit(found_cents, urgency)
        return found_cents

    amount_cents = read(amount, payable, 0)
    load_id = read("load", cells.parse_reference, None)
    description = read("description", cells.parse_description, None)
    return SettlementRow(record.line, record.cells, driver, amount_cents, urgency, load_id, description)


def _named(text: str) -> str:
    if not text:
        raise cells.CellError("is blank")
    return cells.parse_reference(text)
