"""CSV: customer text can't become a formula in a spreadsheet, and numbers stay numbers."""

import csv
import io

import pytest

from gateway.http.csv_tables import csv_body, csv_cell


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "\n@x", "|calc", "%0A=1", '=HYPERLINK("//x")']
)
def test_text_that_looks_like_a_formula_gets_an_apostrophe(text: str) -> None:
    """OWASP's list of first characters, also after white space."""
    assert csv_cell(text) == f"'{text}"


@pytest.mark.parametrize(("value", "shown"), [(-5, "-5"), (None, ""), ("plain", "plain"), ("a=b", "a=b"), (0, "0")])
def test_other_values_are_unchanged(value: object, shown: str) -> None:
    """Negative numbers are not formulas."""
    assert csv_cell(value) == shown


def test_quotes_commas_and_line_breaks_survive_a_round_trip() -> None:
    body = csv_body(["name", "amount"], [['She said "go", twice', 1], ["two\nlines", 2]])
    assert list(csv.reader(io.StringIO(body.decode(), newline=""))) == [
        ["name", "amount"],
        ['She said "go", twice', "1"],
        ["two\nlines", "2"],
    ]
