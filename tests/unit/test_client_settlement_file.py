"""A settlement file is parsed, or rejected with the row and column of every error."""

from pathlib import Path

import pytest

from shared.cli.client import cells, csv_table, settlement_file
from shared.cli.client import drivers as roster
from shared.cli.client.cells import CellError, parse_cents, parse_dollars
from shared.cli.client.drivers import ApiDriver, DriverIndex

HEADER = "driverId,amount,loadId,description\n"
ROSTER = DriverIndex(
    [
        ApiDriver("drv_1", "OVN-1", "John Smith", "active", "verified"),
        ApiDriver("drv_2", "OVN-2", "Jane Doe", "pending", "pending"),
        ApiDriver("drv_3", "OVN-3", "Joe Gone", "inactive", "verified"),
        ApiDriver("drv_4", "OVN-4", "Al Alias", "pending", "rejected"),
    ]
)


def problems(content: str | bytes, *, urgency: str | None = None, allow_duplicates: bool = False) -> list[str]:
    """Return every error as the command prints it."""
    raw = content.encode() if isinstance(content, str) else content
    read = settlement_file.parse_settlement(csv_table.parse_csv(raw), urgency)
    found = [*read.problems, *roster.check_settlement_drivers(read, ROSTER, allow_duplicates=allow_duplicates)]
    return [problem.format("f.csv") for problem in sorted(found, key=lambda problem: problem.line or 0)]


def rows(content: str | bytes, urgency: str | None = None) -> list[settlement_file.SettlementRow]:
    """Return the rows of a file without errors."""
    read = settlement_file.parse_settlement(
        csv_table.parse_csv(content.encode() if isinstance(content, str) else content), urgency
    )
    assert not read.problems
    return read.rows


BAD_ROWS = {
    "blank driver": (",1.00,L,", "f.csv:2: driverId: is blank"),
    "unknown driver": ("OVN-9,1.00,L,", "f.csv:2: driverId: no driver OVN-9"),
    "driver in other case": ("ovn-1,1.00,L,", "f.csv:2: driverId: no driver ovn-1; did you mean OVN-1?"),
    "driver not verified yet": ("OVN-2,1.00,L,", "f.csv:2: driverId: Jane Doe (drv_2) can't be paid yet"),
    "driver inactive": ("drv_3,1.00,L,", "f.csv:2: driverId: Joe Gone (drv_3) can't be paid: the driver is inactive"),
    "driver rejected": ("OVN-4,1.00,L,", "the provider rejected the verification"),
    "blank amount": ("OVN-1,,L,", "f.csv:2: amount: is blank"),
    "zero": ("OVN-1,0.00,L,", "f.csv:2: amount: is zero"),
    "negative": ("OVN-1,-1.00,L,", "f.csv:2: amount: '-1.00' is negative"),
    "negative in dollars": ("OVN-1,-$1.00,L,", "is negative"),
    "negative in brackets": ("OVN-1,(1.00),L,", "is negative"),
    "decimal comma": ('OVN-1,"1.234,56",L,', "'1.234,56' is ambiguous"),
    "short decimal comma": ('OVN-1,"12,5",L,', "is ambiguous"),
    "three decimals": ("OVN-1,1.234,L,", "f.csv:2: amount: '1.234' has more than two decimals"),
    "exponent": ("OVN-1,1.2E3,L,", "has an exponent"),
    "wrong groups": ('OVN-1,"1,00,000",L,', "is not an amount"),
    "another currency": ("OVN-1,€1.00,L,", "is not an amount"),
    "digits of another script": ("OVN-1,\N{FULLWIDTH DIGIT ONE},L,", "is not an amount"),
    "formula for an amount": ("OVN-1,=1+1,L,", "'=1+1' is not an amount"),
    "over the limit": (
        "OVN-1,1000000.01,L,",
        "$1,000,000.01 is more than the limit of a standard payout, $1,000,000.00",
    ),
    "long load": (f"OVN-1,1.00,{'L' * 101},", "f.csv:2: loadId: is 101 characters long; the maximum is 100"),
    "long description": (f"OVN-1,1.00,L,{'d' * 501}", "f.csv:2: description: is 501 characters long"),
    "control character": ("OVN-1,1.00,L,a\x07b", "f.csv:2: description: contains the invisible character U+0007"),
    "line break in a cell": ('OVN-1,1.00,L,"a\nb"', "f.csv:2: description: contains the invisible character U+000A"),
    "text that changes direction": (
        "OVN-1,1.00,L\N{RIGHT-TO-LEFT OVERRIDE},",
        "f.csv:2: loadId: contains the invisible character U+202E",
    ),
    "too few fields": ("OVN-1,1.00", "f.csv:2: has 2 fields, the header has 4"),
    "too many fields": ("OVN-1,1.00,L,d,x", "f.csv:2: has 5 fields, the header has 4"),
    "quote that does not end": ('OVN-1,1.00,L,"d', "f.csv:2: has a misplaced or unclosed quote"),
    "quote in the wrong place": ('OVN-1,1.00,L,"d"d', "f.csv:2: has a misplaced or unclosed quote"),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_invalid_row_is_reported_with_line_and_column(name: str) -> None:
    row, expected = BAD_ROWS[name]
    (found,) = problems(HEADER + row + "\n")
    assert found.startswith("f.csv:2: ")
    assert expected in found


BAD_FILES = {
    "empty": (b"", "f.csv: is empty"),
    "blank": (b"\xef\xbb\xbf \r\n\n", "f.csv: is empty"),
    "header alone": (HEADER.encode(), "f.csv: has a header and no rows"),
    "not UTF-8": (
        HEADER.encode() + b"OVN-1,1.00,L,ok\nOVN-1,1.00,L,Jos\xe9\n",
        "f.csv:3: is not UTF-8 (invalid byte e9",
    ),
    "UTF-16": (HEADER.encode("utf-16"), "f.csv:1: is UTF-16; save it as CSV UTF-8"),
    "no driver": (b"amount\n1.00\n", "f.csv:1: has no driver column"),
    "no amount": (b"driver\nOVN-1\n", "f.csv:1: has no amount column"),
    "two drivers": (b"driver,driver_id,amount\nOVN-1,OVN-1,1.00\n", "f.csv:1: driver_id: duplicates the column"),
    "two amounts": (b"driver,amount,amount_cents\nOVN-1,1.00,100\n", "f.csv:1: amount_cents: conflicts with 'amount'"),
    "results": (b"driver,amount,payoutId,netAmount\nOVN-1,1.00,pay_1,1.00\n", "is the header of a results file"),
    "10,001 rows": (b"driver,amount\n" + b"".join(b"OVN-1,%d.00\n" % n for n in range(1, 10_002)), "split it"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_invalid_file_is_reported(name: str) -> None:
    content, expected = BAD_FILES[name]
    assert any(expected in found for found in problems(content)), problems(content)[:3]


def test_all_errors_are_reported_in_row_order() -> None:
    found = problems(HEADER + "OVN-9,,L-1,\nOVN-1,1.00,L-2,\nOVN-1,-1,L-3,\n,1.00,L-4,\n")
    assert [line.split(":")[1] for line in found] == ["2", "2", "4", "5"]


def test_payment_twice_in_a_file_is_an_error_unless_allowed() -> None:
    content = (
        HEADER + "OVN-1,1.00,L-1,\ndrv_1,1.00,L-1,\nOVN-1,2.00,L-1,\nOVN-1,5.00,,a\nOVN-1,5.00,,a\nOVN-1,5.00,,b\n"
    )
    assert problems(content) == [
        "f.csv:3: is the same payment as row 2; --allow-duplicates pays both",
        "f.csv:4: loadId: row 2 already pays this driver for L-1; --allow-duplicates pays both",
        "f.csv:6: is the same payment as row 5; --allow-duplicates pays both",
    ]
    assert problems(content, allow_duplicates=True) == []


def test_two_drivers_may_share_a_load() -> None:
    drivers = DriverIndex([ApiDriver(f"drv_{n}", f"OVN-{n}", "A", "active", "verified") for n in (1, 2)])
    read = settlement_file.parse_settlement(
        csv_table.parse_csv((HEADER + "OVN-1,1.00,L-1,\nOVN-2,1.00,L-1,\n").encode()), None
    )
    assert roster.check_settlement_drivers(read, drivers, allow_duplicates=False) == []


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_delimiter_line_end_and_byte_order_mark_do_not_matter(delimiter: str, end: str, encoding: str) -> None:
    lines = ["OVN Driver ID|Amount|LOAD-id|Description", '"OVN-1"|"$1,234.50"| L-1 |"José, #L-1"', "|||", "drv_1|7||"]
    text = end.join(line.replace("|", delimiter) for line in lines)
    found = rows((text + end).encode(encoding))
    assert [(row.line, row.driver, row.amount_cents, row.load_id, row.description) for row in found] == [
        (2, "OVN-1", 123_450, "L-1", "José, #L-1"),
        (4, "drv_1", 700, None, None),
    ]


def test_unknown_column_is_reported_and_kept() -> None:
    read = settlement_file.parse_settlement(csv_table.parse_csv(b"driver,amount,cost centre\nOVN-1,1.00,X\n"), None)
    assert read.unknown_columns == ["cost centre"]
    assert read.rows[0].cells == ["OVN-1", "1.00", "X"]


def test_urgency_of_option_or_column_sets_the_limit() -> None:
    content = "driver,amount,urgency\nOVN-1,10000.01,Instant\nOVN-1,20000,same day\nOVN-1,1.00,\nOVN-1,1.00,soon\n"
    found = problems(content, allow_duplicates=True)
    assert [line.split(":")[1:3] for line in found] == [["2", " amount"], ["5", " urgency"]]
    assert "conflicts with --urgency" in problems(content, urgency="instant", allow_duplicates=True)[0]
    assert rows("driver,amount\nOVN-1,1.00\n", "instant")[0].urgency == "instant"


def test_text_that_looks_like_a_formula_is_kept() -> None:
    (row,) = rows(HEADER + "OVN-1,1.00,=HYPERLINK(1),+1 extra\n")
    assert (row.load_id, row.description) == ("=HYPERLINK(1)", "+1 extra")


def test_sample_settlement_has_no_errors() -> None:
    path = Path(__file__).parents[1] / "data" / "settlement.csv"
    read = settlement_file.parse_settlement(csv_table.read_csv_file(path), None)
    assert (len(read.rows), read.problems, read.unknown_columns) == (1_000, [], ["name", "email"])
    assert {row.urgency for row in read.rows} == {"standard", "same_day", "instant"}


@pytest.mark.parametrize(
    ("text", "expected_cents"),
    [("1234.56", 123_456), ("$1,234.56", 123_456), ("1,234", 123_400), ("0.01", 1), ("7.5", 750), ("$ 7", 700)],
)
def test_dollars_are_parsed_exactly(text: str, expected_cents: int) -> None:
    assert parse_dollars(text) == expected_cents


@pytest.mark.parametrize("text", ["", "12.5", "1e3", "-5", "0", "1,000", "$5", "9" * 16, "\N{ARABIC-INDIC DIGIT ONE}"])
def test_cents_must_be_digits(text: str) -> None:
    assert parse_cents("45000") == 45_000
    with pytest.raises(CellError):
        parse_cents(text)


def test_control_characters_are_removed_from_untrusted_text() -> None:
    assert "\x1b" not in cells.sanitize_text("\x1b[31mred")
    assert cells.sanitize_text("Zoë 李") == "Zoë 李"
