"""Compare a response's shape with a sample: names and types, identifiers by prefix, times by format."""

import re
from collections.abc import Iterator
from typing import Any

TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")
DATE = re.compile(r"^\d{4}-\d\d-\d\d$")
IDENTIFIER = re.compile(r"^(drv|pay|batch|txn|log|key)_[a-z0-9]+$")
API_KEY = re.compile(r"^(ovnp_sbox|ovnp_prod)_x{32}$")
_NUMBERS = (int, float)


def differences(answer: Any, sample: Any, at: str = "") -> list[str]:
    """Describe each field of `sample` that `answer` lacks or has with another type; additional fields are permitted.

    A null in the sample matches anything, and an empty list any list.
    """
    match sample:
        case None:
            return []
        case dict():
            if not isinstance(answer, dict):
                return [f"{at} is not an object: {answer!r}"]
            missing = [f"{at}.{name} is missing" for name in sample if name not in answer]
            return missing + [
                line
                for name, value in sample.items()
                if name in answer
                for line in differences(answer[name], value, f"{at}.{name}")
            ]
        case list():
            if not isinstance(answer, list) or (sample and not answer):
                return [f"{at} is not a list with items: {answer!r}"]
            pairs = _pairs(answer, sample)
            return [
                line for index, (item, shown) in enumerate(pairs) for line in differences(item, shown, f"{at}[{index}]")
            ]
        case bool():
            return [] if isinstance(answer, bool) else [f"{at} is not true or false: {answer!r}"]
        case int():
            return (
                [] if isinstance(answer, int) and not isinstance(answer, bool) else [f"{at} is no integer: {answer!r}"]
            )
        case float():
            return [] if type(answer) in _NUMBERS else [f"{at} is no number: {answer!r}"]
        case str():
            return _text_differences(answer, sample, at)
    raise AssertionError(f"{at}: no sample has a {sample!r}")


def _pairs(answer: list[Any], sample: list[Any]) -> Iterator[tuple[Any, Any]]:
    """Pair each item with the sample's item at its index if both have as many, else with the first."""
    if len(answer) == len(sample):
        yield from zip(answer, sample, strict=True)
    elif sample:
        yield from ((item, sample[0]) for item in answer)


def _text_differences(answer: Any, sample: str, at: str) -> list[str]:
    if not isinstance(answer, str):
        return [f"{at} is no text: {answer!r}"]
    if TIME.match(sample) and not TIME.match(answer):
        return [f"{at} is no RFC 3339 time in UTC with Z: {answer!r}"]
    if DATE.match(sample) and not DATE.match(answer):
        return [f"{at} is no date: {answer!r}"]
    if (identifier := IDENTIFIER.match(sample)) and not re.match(rf"^{identifier[1]}_[a-z0-9]+$", answer):
        return [f"{at} is no {identifier[1]}_…: {answer!r}"]
    if (key := API_KEY.match(sample)) and not re.match(rf"^{key[1]}_[A-Za-z0-9]{{32,}}$", answer):
        return [f"{at} is no {key[1]}_…: {answer!r}"]
    return []


def additions(answer: Any, sample: Any) -> set[str]:
    """The names of fields in `answer` that `sample` lacks, at any depth; an empty sample has no names to compare."""
    if isinstance(sample, dict) and isinstance(answer, dict) and sample:
        below = {name for key in sample if key in answer for name in additions(answer[key], sample[key])}
        return (answer.keys() - sample.keys()) | below
    if isinstance(sample, list) and isinstance(answer, list):
        return {name for item, shown in _pairs(answer, sample) for name in additions(item, shown)}
    return set()


def at_path(value: Any, path: str) -> Any:
    """`at_path({"data": {"items": [7]}}, "data.items.0")` is 7."""
    for name in path.split("."):
        value = value[int(name)] if isinstance(value, list) else value[name]
    return value
