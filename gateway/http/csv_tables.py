"""CSV tables for spreadsheets, with protection against formula injection."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from aiohttp import web

_FORMULA: Final = re.compile(r"[\s]*[=+\-@\t\r\n|%]")
"""The start of a cell that spreadsheets can execute (OWASP: CSV injection)."""


def csv_cell(value: Any) -> str:
    """Format a value; text that looks like a formula gets a leading apostrophe, which spreadsheets hide."""
    if value is None:
        return ""
    text = str(value)
    return f"'{text}" if isinstance(value, str) and _FORMULA.match(text) else text


def csv_body(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """Encode a table by RFC 4180, in UTF-8, with a header row."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows([csv_cell(value) for value in row] for row in rows)
    return text.getvalue().encode()


def csv_table_response(filename: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> web.Response:
    """A table as a file. `filename` must not contain user input: it is not escaped."""
    return csv_file_response(filename, csv_body(columns, rows))


def csv_file_response(filename: str, body: bytes) -> web.Response:
    """An encoded table as a file; encode long tables off the event loop."""
    return web.Response(
        body=body,
        content_type="text/csv",
        charset="utf-8",
        headers={"Content-Disposition": f'attachment; filename="{filename}"'},
    )
