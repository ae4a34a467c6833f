"""CSV files: encoding, delimiter, header and records."""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from shared.cli.client.errors import UsageError

FILE_BYTES_MAX: Final = 50_000_000
DELIMITERS: Final = (",", ";", "\t")


class FileProblem(NamedTuple):
    """An error in a file."""

    line: int | None
    """Line of the file, from 1, where the row starts; None for the file as a whole."""
    column: str
    """Column name from the header; empty for the row as a whole."""
    message: str

    def format(self, file_name: str) -> str:
        """Return `FILE.csv:17: amount: is blank`."""
        location = file_name if self.line is None else f"{file_name}:{self.line}"
        return ": ".join(part for part in (location, self.column, self.message) if part)


class CsvRecord(NamedTuple):
    """One row of the file."""

    line: int
    cells: list[str]


class CsvTable(NamedTuple):
    """The rows of a file, without blank ones."""

    delimiter: str
    header: list[str]
    records: list[CsvRecord]
    problems: list[FileProblem]
    """Errors that made rows unreadable."""


def read_csv_file(path: Path) -> CsvTable:
    """Read a table; raise UsageError if the file is unreadable."""
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or type(error).__name__}") from None
    return parse_csv(raw)


def parse_csv(raw: bytes) -> CsvTable:
    """Parse a table; other content gives problems and no records."""
    if len(raw) > FILE_BYTES_MAX:
        return _unreadable(None, f"is larger than {FILE_BYTES_MAX // 1_000_000} MB; split it")
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return _unreadable(1, "is UTF-16; save it as CSV UTF-8")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = len(re.findall(rb"\r\n|\r|\n", raw[: error.start])) + 1
        return _unreadable(line, f"is not UTF-8 (invalid byte {raw[error.start]:02x}); save it as CSV UTF-8")
    if not text.strip():
        return _unreadable(None, "is empty")
    delimiter = _detect_delimiter(text)
    records: list[CsvRecord] = []
    problems: list[FileProblem] = []
    for item in _read_records(text, delimiter):
        if isinstance(item, FileProblem):
            problems.append(item)
        elif any(cell.strip() for cell in item.cells):
            records.append(item)
    if not records:
        return CsvTable(delimiter, [], [], problems or [FileProblem(None, "", "is empty")])
    header = [cell.strip() for cell in records[0].cells]
    return CsvTable(delimiter, header, records[1:], problems)


def _unreadable(line: int | None, message: str) -> CsvTable:
    return CsvTable(",", [], [], [FileProblem(line, "", message)])


def _detect_delimiter(text: str) -> str:
    first = next(line for line in text.splitlines() if line.strip())
    unquoted = re.sub(r'"(?:[^"]|"")*"', "", first)
    return max(DELIMITERS, key=unquoted.count)


def _read_records(text: str, delimiter: str) -> Iterator[CsvRecord | FileProblem]:
    """Yield records up to the first misplaced quote, because such a quote could silently join rows."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield FileProblem(line, "", f"has a misplaced or unclosed quote: {error}")
            return
        yield CsvRecord(line, cells)
