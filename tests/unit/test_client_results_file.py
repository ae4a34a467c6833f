"""Results match the input row by row and are safe to open in a spreadsheet."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from shared.cli.client import csv_table, results_file, settlement_file
from shared.cli.client.batch_drafts import PayableRow
from shared.cli.client.drivers import ApiDriver
from shared.cli.client.errors import UsageError


@pytest.mark.parametrize("cell", ["=1+1", "+1 extra", "-2+3", "@SUM(A1)", "\tx", "\rx", "=HYPERLINK(1)", "--5", "-"])
def test_formula_is_escaped(cell: str) -> None:
    assert results_file.escape_formula(cell) == f"'{cell}"


@pytest.mark.parametrize("cell", ["-5", "+15551234567", "-1.50", "1.5", "", "Driver", "L-1", "'=1"])
def test_number_or_plain_text_is_unchanged(cell: str) -> None:
    assert results_file.escape_formula(cell) == cell


def payout(number: int, amount: int, load: str | None, **more: Any) -> dict[str, Any]:
    shown = {"id": f"pay_{number}", "driverId": "drv_1", "amount": amount, "fee": 25, "netAmount": amount - 25}
    return shown | {"loadId": load, "description": None, "status": "completed"} | more


def test_rows_match_payouts_in_any_order() -> None:
    read = settlement_file.parse_settlement(
        csv_table.parse_csv(
            b"driver;amount;load;note\nOVN-1;1,000.00;=L;+n\nOVN-1;2.00;;\nOVN-1;2.00;;\nOVN-1;3.00;;\n"
        ),
        None,
    )
    driver = ApiDriver("drv_1", "OVN-1", "John", "active", "verified")
    failure = {"code": "BANK_REJECTED", "message": "@closed", "retryable": False}
    payouts = [payout(3, 200, None), payout(2, 200, None, status="failed", failure=failure), payout(1, 100_000, "=L")]
    rows = results_file.settlement_results(read.table, [PayableRow(row, driver) for row in read.rows], payouts)
    text = results_file.format_csv(rows, read.table.delimiter)
    assert list(csv.reader(io.StringIO(text), delimiter=";")) == [
        ["driver", "amount", "load", "note", *results_file.COLUMNS],
        ["OVN-1", "1,000.00", "'=L", "'+n", "pay_1", "completed", "0.25", "999.75", "", ""],
        ["OVN-1", "2.00", "", "", "pay_3", "completed", "0.25", "1.75", "", ""],
        ["OVN-1", "2.00", "", "", "pay_2", "failed", "0.25", "1.75", "BANK_REJECTED", "'@closed"],
        ["OVN-1", "3.00", "", "", "", "unknown", "", "", "", ""],
    ]


def test_results_replace_older_file_atomically(tmp_path: Path) -> None:
    place = results_file.default_results_path(tmp_path / "payday.csv")
    assert place == tmp_path / "payday.results.csv"
    place.write_text("old")
    results_file.replace_file(place, "new")
    assert place.read_text() == "new"
    assert list(tmp_path.iterdir()) == [place]


def test_results_path_must_be_writable_and_not_the_input(tmp_path: Path) -> None:
    source = tmp_path / "payday.csv"
    results_file.check_results_path(results_file.default_results_path(source), source)
    for bad in (source, tmp_path, tmp_path / "nowhere" / "r.csv"):
        with pytest.raises(UsageError):
            results_file.check_results_path(bad, source)
