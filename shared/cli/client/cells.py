"""One cell of a settlement file: what it says, or the sentence why it can't be taken. Nothing is guessed."""

import re
import unicodedata
from typing import Final

REFERENCE_LENGTH_MAX: Final = 100
DESCRIPTION_LENGTH_MAX: Final = 500
URGENCIES: Final = ("standard", "same_day", "instant")
LIMIT_CENTS: Final = {"standard": 100_000_000, "same_day": 100_000_000, "instant": 1_000_000}
"""The most that one payout may be, by rail, as the API's documentation has it. The API checks it again."""

_DOLLARS = re.compile(r"\$? ?(?P<whole>[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.(?P<part>[0-9]{1,2}))?")
_NEGATIVE = re.compile(r"-\s*\$?\s*[0-9.,]+|\$\s*-\s*[0-9.,]+|\(\s*\$?\s*[0-9.,]+\s*\)|[0-9.,]+\s*-")
_EXPONENT = re.compile(r"[0-9.]+[eE][+-]?[0-9]+")
_DECIMAL_COMMA = re.compile(r"\$?\s*(?:[0-9]{1,3}(?:\.[0-9]{3})+,[0-9]+|[0-9]+,[0-9]{1,2})")
_TOO_FINE = re.compile(r"\$?\s*[0-9,]+\.[0-9]{3,}")


class CellError(ValueError):
    """Why a cell can't be taken."""


def format_money(cents: int) -> str:
    """Cents as people read them: $1,234.56."""
    sign, cents = ("-" if cents < 0 else ""), abs(cents)
    return f"{sign}${cents // 100:,}.{cents % 100:02d}"


def parse_dollars(text: str) -> int:
    """`1234.56` or `$1,234.56` in cents.

    Raises:
        BadCell: it is no amount, or could be read in two ways.

    """
    found = _DOLLARS.fullmatch(text)
    if found is None:
        raise CellError(_why_no_amount(text))
    cents = int(found["whole"].replace(",", "")) * 100 + int((found["part"] or "0").ljust(2, "0"))
    return _positive(cents)


def parse_cents(text: str) -> int:
    """`123456`, cents already.

    Raises:
        BadCell: it is not digits alone.

    """
    if not re.fullmatch(r"[0-9]{1,15}", text):
        raise CellError(
            _why_no_amount(text)
            if not text or _NEGATIVE.fullmatch(text)
            else f"{_shown(text)} is not a whole number of cents, as in 123456"
        )
    return _positive(int(text))


def check_rail_limit(cents: int, urgency: str) -> None:
    """Raises BadCell where the rail carries no such amount."""
    limit_cents = LIMIT_CENTS[urgency]
    if cents > limit_cents:
        raise CellError(f"{format_money(cents)} is more than a {urgency} payout may be, {format_money(limit_cents)}")


def parse_reference(text: str) -> str:
    """A driver or a load, of at most 100 characters."""
    return _text(text, REFERENCE_LENGTH_MAX)


def parse_description(text: str) -> str:
    """What the payout is for, at most 500 characters."""
    return _text(text, DESCRIPTION_LENGTH_MAX)


def parse_urgency(text: str) -> str:
    """`standard`, `same_day` or `instant`, forgiving in case, spaces and hyphens."""
    found = re.sub(r"[\s_-]+", "_", text.lower())
    if found not in URGENCIES:
        raise CellError(f"{_shown(text)} is none of {', '.join(URGENCIES)}")
    return found


def sanitize_text(text: str) -> str:
    """Text from elsewhere as a terminal may show it: no control character, no escape sequence."""
    return "".join(character if _is_text(character) else "\N{REPLACEMENT CHARACTER}" for character in text)


def _text(text: str, length_max: int) -> str:
    for place, character in enumerate(text, start=1):
        if not _is_text(character):
            name = unicodedata.name(character, "a control character")
            raise CellError(f"contains U+{ord(character):04X} ({name}) as character {place}, which can't be seen")
    if len(text) > length_max:
        raise CellError(f"is {len(text)} characters long; at most {length_max} are taken")
    return text


def _is_text(character: str) -> bool:
    """Letters, digits, signs and the space: nothing that hides, turns the direction, or steers a terminal."""
    return unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def _positive(cents: int) -> int:
    if cents == 0:
        raise CellError("is zero; a payout is at least one cent")
    return cents


def _why_no_amount(text: str) -> str:
    if not text:
        return "is blank"
    shown = _shown(text)
    if _NEGATIVE.fullmatch(text):
        return f"{shown} is negative; a payout is money to the driver"
    if _EXPONENT.fullmatch(text):
        return f"{shown} has an exponent, as a spreadsheet writes numbers it has rounded; write it out"
    if _DECIMAL_COMMA.fullmatch(text):
        return f"{shown} could be read in two ways; write dollars with a decimal point, as in 1234.56"
    if _TOO_FINE.fullmatch(text):
        return f"{shown} has more than two decimals; a cent is the least there is"
    return f"{shown} is not an amount in dollars, as in 1234.56 or $1,234.56"


def _shown(text: str) -> str:
    return f"'{sanitize_text(text[:40])}{'…' if len(text) > 40 else ''}'"
