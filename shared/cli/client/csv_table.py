"""A CSV file taken apart: encoding, delimiter, header, records. What the cells mean is not its affair."""

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
    """Why a file can't be handed in, and where."""

    line: int | None
    """The line of the file, from 1, on which the row begins; None: the file as a whole."""
    column: str
    """The column as the header names it; empty: the row as a whole."""
    message: str

    def shown(self, name: str) -> str:
        """`FILE.csv:17: amount: is blank`."""
        return ": ".join(
            part for part in (name if self.line is None else f"{name}:{self.line}", self.column, self.message) if part
        )


class CsvRecord(NamedTuple):
    """One row as it is in the file."""

    line: int
    cells: list[str]


class CsvTable(NamedTuple):
    """The file's rows; blank ones are left out."""

    delimiter: str
    header: list[str]
    records: list[CsvRecord]
    problems: list[FileProblem]
    """What could not even be taken apart."""


def read_csv_file(path: Path) -> CsvTable:
    """The table in a file.

    Raises:
        Misused: there is no such file, or it can't be opened.

    """
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or type(error).__name__}") from None
    return parse_csv(raw)


def parse_csv(raw: bytes) -> CsvTable:
    """The table in these bytes. It has problems instead of records where they are none."""
    if len(raw) > FILE_BYTES_MAX:
        return _nothing(None, f"is larger than {FILE_BYTES_MAX // 1_000_000} MB; split it")
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return _nothing(1, "is UTF-16; save it as CSV UTF-8")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = len(re.findall(rb"\r\n|\r|\n", raw[: error.start])) + 1
        return _nothing(line, f"is not UTF-8 (byte {raw[error.start]:02x} is none of its text); save it as CSV UTF-8")
    if not text.strip():
        return _nothing(None, "is empty")
    delimiter = _delimiter(text)
    records: list[CsvRecord] = []
    problems: list[FileProblem] = []
    for found in _records(text, delimiter):
        if isinstance(found, FileProblem):
            problems.append(found)
        elif any(cell.strip() for cell in found.cells):
            records.append(found)
    if not records:
        return CsvTable(delimiter, [], [], problems or [FileProblem(None, "", "is empty")])
    header = [cell.strip() for cell in records[0].cells]
    return CsvTable(delimiter, header, records[1:], problems)


def _nothing(line: int | None, message: str) -> CsvTable:
    return CsvTable(",", [], [], [FileProblem(line, "", message)])


def _delimiter(text: str) -> str:
    """The one that the header has most of, quoted parts aside."""
    first = next(line for line in text.splitlines() if line.strip())
    bare = re.sub(r'"(?:[^"]|"")*"', "", first)
    return max(DELIMITERS, key=bare.count)


def _records(text: str, delimiter: str) -> Iterator[CsvRecord | FileProblem]:
    """Strictly: a quote in the wrong place would silently join rows, so it ends the reading."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield FileProblem(line, "", f"has a quote in the wrong place, or one that does not end: {error}")
            return
        yield CsvRecord(line, cells)
