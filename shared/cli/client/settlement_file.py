"""Settlement files: their rows, and every error at once."""

import re
from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

from shared.cli.client import cells
from shared.cli.client.csv_table import CsvRecord, CsvTable, FileProblem
from shared.cli.client.formatting import sanitize_text

ROWS_MAX: Final = 10_000
COLUMN_NAMES: Final = {
    "driver": ("driverid", "ovndriverid", "driver"),
    "dollars": ("amount", "amountusd", "amountdollars"),
    "cents": ("amountcents",),
    "load": ("loadid", "load"),
    "description": ("description",),
    "urgency": ("urgency",),
}
"""Recognized header names by field; case, spaces, hyphens and underscores don't matter."""
RESULT_COLUMNS: Final = ("payoutid", "netamount")
"""A header with both of these is the header of a results file."""

Value = TypeVar("Value")


class SettlementRow(NamedTuple):
    """The payment that one row asks for."""

    line: int
    cells: list[str]
    """The row's cells as they are in the file."""
    driver: str
    """Driver id of OVN Pay or of the carrier, as written; empty if unreadable."""
    amount_cents: int
    """0 if unreadable."""
    urgency: str
    load_id: str | None
    description: str | None


class Settlement(NamedTuple):
    """A parsed file."""

    table: CsvTable
    rows: list[SettlementRow]
    problems: list[FileProblem]
    """Errors. Rows may be paid only if there are none."""
    unknown_columns: list[str]
    """Header names that are ignored."""
    columns: dict[str, str]
    """Header name of each recognized field."""


def parse_settlement(table: CsvTable, urgency: str | None) -> Settlement:
    """Parse a table. `urgency` is that of every row, if given."""
    indexes, problems, unknown = _recognize_columns(table.header) if table.header else ({}, [], [])
    problems = [*table.problems, *problems]
    columns = {field: table.header[index] for field, index in indexes.items()}
    if "urgency" in indexes and urgency is not None:
        problems.append(FileProblem(1, columns["urgency"], "conflicts with --urgency; remove the column or the option"))
    if table.header and not table.records and not problems:
        problems.append(FileProblem(None, "", "has a header and no rows"))
    if len(table.records) > ROWS_MAX:
        message = f"has {len(table.records):,} rows; the maximum is {ROWS_MAX:,}: split it"
        problems.append(FileProblem(None, "", message))
    rows: list[SettlementRow] = []
    if "driver" in indexes and {"dollars", "cents"} & indexes.keys():
        rows = [_parse_row(record, table.header, indexes, urgency or "standard", problems) for record in table.records]
    return Settlement(table, rows, problems, unknown, columns)


def _recognize_columns(header: list[str]) -> tuple[dict[str, int], list[FileProblem], list[str]]:
    """Return field indexes, errors, and unknown names."""
    fields = {name: field for field, names in COLUMN_NAMES.items() for name in names}
    indexes: dict[str, int] = {}
    problems: list[FileProblem] = []
    unknown: list[str] = []
    normalized = [re.sub(r"[\s_-]+", "", name.lower()) for name in header]
    if set(RESULT_COLUMNS) <= set(normalized):
        problems.append(FileProblem(1, "", "is the header of a results file, not of a settlement"))
    for index, name in enumerate(normalized):
        field = fields.get(name)
        if field is None:
            unknown.append(sanitize_text(header[index]) or f"column {index + 1} (without a name)")
        elif field in indexes:
            problems.append(
                FileProblem(1, header[index], f"duplicates the column {header[indexes[field]]!r}; keep one of them")
            )
        else:
            indexes[field] = index
    if "driver" not in indexes:
        problems.append(FileProblem(1, "", "has no driver column: driver, driverId or ovnDriverId"))
    if {"dollars", "cents"} <= indexes.keys():
        problems.append(
            FileProblem(1, header[indexes["cents"]], f"conflicts with {header[indexes['dollars']]!r}; keep one of them")
        )
    elif not {"dollars", "cents"} & indexes.keys():
        problems.append(FileProblem(1, "", "has no amount column: amount (dollars) or amount_cents"))
    return indexes, problems, unknown


def _parse_row(
    record: CsvRecord, header: list[str], indexes: dict[str, int], default_urgency: str, problems: list[FileProblem]
) -> SettlementRow:
    if len(record.cells) != len(header):
        message = f"has {len(record.cells)} fields, the header has {len(header)}"
        problems.append(FileProblem(record.line, "", message))
        return SettlementRow(record.line, record.cells, "", 0, default_urgency, None, None)

    def parse(field: str, parser: Callable[[str], Value], default: Value) -> Value:
        index = indexes.get(field)
        text = "" if index is None else record.cells[index].strip(" \xa0")
        if index is None or (not text and field not in ("driver", "dollars", "cents")):
            return default
        try:
            return parser(text)
        except cells.CellError as error:
            problems.append(FileProblem(record.line, header[index], str(error)))
            return default

    driver = parse("driver", cells.parse_driver, "")
    urgency = parse("urgency", cells.parse_urgency, default_urgency)
    amount_field = "dollars" if "dollars" in indexes else "cents"
    parse_unit = cells.parse_dollars if amount_field == "dollars" else cells.parse_cents

    def parse_amount(text: str) -> int:
        amount_cents = parse_unit(text)
        cells.check_rail_limit(amount_cents, urgency)
        return amount_cents

    amount_cents = parse(amount_field, parse_amount, 0)
    load_id = parse("load", cells.parse_reference, None)
    description = parse("description", cells.parse_description, None)
    return SettlementRow(record.line, record.cells, driver, amount_cents, urgency, load_id, description)
