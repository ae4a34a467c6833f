"""The results beside the input: its own columns, and what became of each row; safe to open in a spreadsheet."""

import contextlib
import csv
import io
import os
import re
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from shared.cli.client.batch_drafts import PayableRow
from shared.cli.client.cells import format_money
from shared.cli.client.csv_table import CsvTable
from shared.cli.client.errors import UsageError

COLUMNS: Final = ("payoutId", "status", "fee", "netAmount", "failureCode", "failureMessage")
BATCH_RESULT_COLUMNS: Final = ("payoutId", "driverId", "driverName", "loadId", "description", "amount", *COLUMNS[1:])
FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")

_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?")


def escape_formula(cell: str) -> str:
    """The cell so that no spreadsheet takes it for a formula; numbers stay numbers."""
    return f"'{cell}" if cell.startswith(FORMULA_STARTS) and not _NUMBER.fullmatch(cell) else cell


def default_results_path(path: Path) -> Path:
    """Where the results of this file go: payday.csv → payday.results.csv."""
    return path.with_name(f"{path.stem}.results.csv")


def check_results_path(path: Path, source: Path) -> None:
    """Makes sure, before anything is sent, that results can be written there.

    Raises:
        Misused: they can't.

    """
    folder = path.resolve().parent
    if path.resolve() == source.resolve():
        raise UsageError("The results can't be written over the file itself; give another --results")
    if path.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"{path}: results can't be written there; give another place with --results")


def settlement_results(
    table: CsvTable, items: Sequence[PayableRow], payouts: Iterable[dict[str, Any]]
) -> list[list[str]]:
    """The results of a file, header first. A row's payout is known by what it pays, for a file that was handed in again
    may have its rows in another order.
    """
    waiting: defaultdict[tuple[Any, ...], deque[dict[str, Any]]] = defaultdict(deque)
    for payout in payouts:
        waiting[_paid(payout)].append(payout)
    found = [[*table.header, *COLUMNS]]
    for item in sorted(items, key=lambda item: item.row.line):
        row = item.row
        same = waiting[item.driver.id, row.amount_cents, row.load_id or "", row.description or ""]
        found.append([*row.cells, *(_outcome(same.popleft()) if same else ["", "unknown", "", "", "", ""])])
    return found


def batch_results(payouts: Iterable[dict[str, Any]]) -> list[list[str]]:
    """The payouts of a batch, header first."""
    return [
        list(BATCH_RESULT_COLUMNS),
        *(
            [
                payout["id"],
                *(str(payout.get(name) or "") for name in ("driverId", "driverName", "loadId", "description")),
                _dollars(payout["amount"]),
                *_outcome(payout)[1:],
            ]
            for payout in payouts
        ),
    ]


def format_csv(rows: Iterable[Sequence[str]], delimiter: str = ",") -> str:
    """Rows as CSV."""
    written = io.StringIO(newline="")
    table = csv.writer(written, delimiter=delimiter, lineterminator="\n")
    table.writerows([escape_formula(cell) for cell in row] for row in rows)
    return written.getvalue()


def replace_file(path: Path, content: str) -> None:
    """Replaces the file in one step: a reader sees the old results or the new ones, never half of them."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(
            os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8", newline=""
        ) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise


def _paid(payout: dict[str, Any]) -> tuple[Any, ...]:
    return payout["driverId"], payout["amount"], payout.get("loadId") or "", payout.get("description") or ""


def _outcome(payout: dict[str, Any]) -> list[str]:
    failure = payout.get("failure") or {}
    return [
        payout["id"],
        payout["status"],
        _dollars(payout["fee"]),
        _dollars(payout["netAmount"]),
        str(failure.get("code") or ""),
        str(failure.get("message") or ""),
    ]


def _dollars(cents: int) -> str:
    """1234.56: a number for a spreadsheet."""
    return format_money(cents).replace("$", "").replace(",", "")
