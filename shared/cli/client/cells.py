"""Parsers of single cells. An ambiguous value is an error."""

import re
import unicodedata
from typing import Final

from shared.cli.client.formatting import format_money, is_visible, sanitize_text

REFERENCE_LENGTH_MAX: Final = 100
DESCRIPTION_LENGTH_MAX: Final = 500
URGENCIES: Final = ("standard", "same_day", "instant")
LIMIT_CENTS: Final = {"standard": 100_000_000, "same_day": 100_000_000, "instant": 1_000_000}
"""Highest amount of one payout for each rail, as the API documents it. The API checks it again."""

_DOLLARS = re.compile(r"\$? ?(?P<whole>[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.(?P<part>[0-9]{1,2}))?")
_NEGATIVE = re.compile(r"-\s*\$?\s*[0-9.,]+|\$\s*-\s*[0-9.,]+|\(\s*\$?\s*[0-9.,]+\s*\)|[0-9.,]+\s*-")
_EXPONENT = re.compile(r"[0-9.]+[eE][+-]?[0-9]+")
_DECIMAL_COMMA = re.compile(r"\$?\s*(?:[0-9]{1,3}(?:\.[0-9]{3})+,[0-9]+|[0-9]+,[0-9]{1,2})")
_TOO_MANY_DECIMALS = re.compile(r"\$?\s*[0-9,]+\.[0-9]{3,}")


class CellError(ValueError):
    """What is wrong with a cell, as a phrase after its column: "is blank"."""


def parse_dollars(text: str) -> int:
    """Return the cents of `1234.56` or `$1,234.56`; raise CellError."""
    match = _DOLLARS.fullmatch(text)
    if match is None:
        raise CellError(_amount_problem(text))
    cents = int(match["whole"].replace(",", "")) * 100 + int((match["part"] or "0").ljust(2, "0"))
    return _require_positive(cents)


def parse_cents(text: str) -> int:
    """Return the cents of `123456`; raise CellError."""
    if not re.fullmatch(r"[0-9]{1,15}", text):
        raise CellError(
            _amount_problem(text)
            if not text or _NEGATIVE.fullmatch(text)
            else f"{_quote(text)} is not a whole number of cents, such as 123456"
        )
    return _require_positive(int(text))


def check_rail_limit(cents: int, urgency: str) -> None:
    """Raise CellError if the amount exceeds the limit of its rail."""
    limit_cents = LIMIT_CENTS[urgency]
    if cents > limit_cents:
        raise CellError(
            f"{format_money(cents)} is more than the limit of a {urgency} payout, {format_money(limit_cents)}"
        )


def parse_reference(text: str) -> str:
    """Check a load or driver: at most 100 visible characters."""
    return _check_text(text, REFERENCE_LENGTH_MAX)


def parse_driver(text: str) -> str:
    """Check a driver reference, required."""
    if not text:
        raise CellError("is blank")
    return parse_reference(text)


def parse_description(text: str) -> str:
    """Check the description of a payout: at most 500 visible characters."""
    return _check_text(text, DESCRIPTION_LENGTH_MAX)


def parse_urgency(text: str) -> str:
    """Return the urgency; case, spaces and hyphens are ignored."""
    urgency = re.sub(r"[\s_-]+", "_", text.lower())
    if urgency not in URGENCIES:
        raise CellError(f"{_quote(text)} is not one of {', '.join(URGENCIES)}")
    return urgency


def _check_text(text: str, length_max: int) -> str:
    for position, character in enumerate(text, start=1):
        if not is_visible(character):
            name = unicodedata.name(character, "a control character")
            raise CellError(f"contains the invisible character U+{ord(character):04X} ({name}) at position {position}")
    if len(text) > length_max:
        raise CellError(f"is {len(text)} characters long; the maximum is {length_max}")
    return text


def _require_positive(cents: int) -> int:
    if cents == 0:
        raise CellError("is zero; the minimum is one cent")
    return cents


def _amount_problem(text: str) -> str:
    if not text:
        return "is blank"
    quoted = _quote(text)
    if _NEGATIVE.fullmatch(text):
        return f"{quoted} is negative; amounts must be positive"
    if _EXPONENT.fullmatch(text):
        return f"{quoted} has an exponent: the spreadsheet may have rounded it. Write out all digits"
    if _DECIMAL_COMMA.fullmatch(text):
        return f"{quoted} is ambiguous; write dollars with a decimal point, such as 1234.56"
    if _TOO_MANY_DECIMALS.fullmatch(text):
        return f"{quoted} has more than two decimals"
    return f"{quoted} is not an amount in dollars, such as 1234.56 or $1,234.56"


def _quote(text: str) -> str:
    return f"'{sanitize_text(text[:40])}{'…' if len(text) > 40 else ''}'"
