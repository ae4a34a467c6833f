"""Tables as CSV, for spreadsheets: a text that a spreadsheet would run as a formula stays a text."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from aiohttp import web

_FORMULA: Final = re.compile(r"[\s]*[=+\-@\t\r\n|%]")
"""How a cell begins that spreadsheets may run (OWASP: CSV injection)."""


def csv_cell(value: Any) -> str:
    """A value as a cell. Numbers are ours and pass as they are; a dangerous text gets an apostrophe in front, which a
    spreadsheet hides.
    """
    if value is None:
        return ""
    text = str(value)
    return f"'{text}" if isinstance(value, str) and _FORMULA.match(text) else text


def csv_body(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """The table as RFC 4180 has it, in UTF-8, the columns' names first."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows([csv_cell(value) for value in row] for row in rows)
    return text.getvalue().encode()


def csv_table_response(filename: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> web.Response:
    """The table as a file to keep. `filename` is ours: letters, digits, `-`, `_` and dots."""
    return csv_file_response(filename, csv_body(columns, rows))


def csv_file_response(filename: str, body: bytes) -> web.Response:
    """The same with a table that `csv_body` has made, off the event loop where it is long."""
    return web.Response(
        body=body,
        content_type="text/csv",
        charset="utf-8",
        headers={"Content-Disposition": f'attachment; filename="{filename}"'},
    )
