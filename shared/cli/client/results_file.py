"""Results as CSV, safe to open in a spreadsheet."""

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
from shared.cli.client.csv_table import CsvTable
from shared.cli.client.errors import UsageError
from shared.cli.client.formatting import format_money

COLUMNS: Final = ("payoutId", "status", "fee", "netAmount", "failureCode", "failureMessage")
BATCH_RESULT_COLUMNS: Final = (
    "payoutId", "driverId", "driverName", "loadId", "description", "amount", *COLUMNS[1:],
)  # fmt: skip
FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")

_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?")


def escape_formula(cell: str) -> str:
    """Prefix a cell that a spreadsheet would run with an apostrophe; numbers stay numbers."""
    return f"'{cell}" if cell.startswith(FORMULA_STARTS) and not _NUMBER.fullmatch(cell) else cell


def default_results_path(path: Path) -> Path:
    """payday.csv → payday.results.csv."""
    return path.with_name(f"{path.stem}.results.csv")


def check_results_path(path: Path, source: Path) -> None:
    """Check, before anything is sent, that the results can be written.

    Raises:
        UsageError: the path is the input file, is a folder, or is not writable.

    """
    folder = path.resolve().parent
    if path.resolve() == source.resolve():
        raise UsageError("The results would overwrite the input file; choose another file with --results")
    if path.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"{path} is not writable; choose another file with --results")


def settlement_results(
    table: CsvTable, rows: Sequence[PayableRow], payouts: Iterable[dict[str, Any]]
) -> list[list[str]]:
    """Return the results, header first. Payouts are matched by what they pay, not by position."""
    unmatched: defaultdict[tuple[Any, ...], deque[dict[str, Any]]] = defaultdict(deque)
    for payout in payouts:
        unmatched[_payment_facts(payout)].append(payout)
    results = [[*table.header, *COLUMNS]]
    for row, driver in sorted(rows, key=lambda payable: payable.row.line):
        same = unmatched[driver.id, row.amount_cents, row.load_id or "", row.description or ""]
        results.append([*row.cells, *(_outcome_cells(same.popleft()) if same else ["", "unknown", "", "", "", ""])])
    return results


def batch_results(payouts: Iterable[dict[str, Any]]) -> list[list[str]]:
    """Return the results of a batch, header first."""
    return [
        list(BATCH_RESULT_COLUMNS),
        *(
            [
                payout["id"],
                *(str(payout.get(name) or "") for name in ("driverId", "driverName", "loadId", "description")),
                _format_dollars(payout["amount"]),
                *_outcome_cells(payout)[1:],
            ]
            for payout in payouts
        ),
    ]


def format_csv(rows: Iterable[Sequence[str]], delimiter: str = ",") -> str:
    """Return rows as CSV with formulas escaped."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerows([escape_formula(cell) for cell in row] for row in rows)
    return text.getvalue()


def replace_file(path: Path, content: str) -> None:
    """Replace a file atomically."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(
            os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8", newline=""
        ) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _payment_facts(payout: dict[str, Any]) -> tuple[Any, ...]:
    return payout["driverId"], payout["amount"], payout.get("loadId") or "", payout.get("description") or ""


def _outcome_cells(payout: dict[str, Any]) -> list[str]:
    failure = payout.get("failure") or {}
    return [
        payout["id"],
        payout["status"],
        _format_dollars(payout["fee"]),
        _format_dollars(payout["netAmount"]),
        str(failure.get("code") or ""),
        str(failure.get("message") or ""),
    ]


def _format_dollars(cents: int) -> str:
    return format_money(cents).replace("$", "").replace(",", "")
