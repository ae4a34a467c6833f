"""Does an answer have the shape of the reference's sample? Names and types; identifiers by prefix; times by format."""

import re
from typing import Any

TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")
IDENTIFIER = re.compile(r"^(drv|pay|txn)_[a-z0-9]+$")
_NUMBERS = (int, float)


def differences(answer: Any, sample: Any, at: str = "") -> list[str]:
    """One line for everything of `sample` that `answer` lacks or has in another type. More fields are no difference."""
    match sample:
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
            if not isinstance(answer, list) or not answer:
                return [f"{at} is not a list with items: {answer!r}"]
            return [
                line for index, item in enumerate(answer) for line in differences(item, sample[0], f"{at}[{index}]")
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


def _text_differences(answer: Any, sample: str, at: str) -> list[str]:
    if not isinstance(answer, str):
        return [f"{at} is no text: {answer!r}"]
    if TIME.match(sample) and not TIME.match(answer):
        return [f"{at} is no RFC 3339 time in UTC with Z: {answer!r}"]
    if (identifier := IDENTIFIER.match(sample)) and not re.match(rf"^{identifier[1]}_[a-z0-9]+$", answer):
        return [f"{at} is no {identifier[1]}_…: {answer!r}"]
    return []


def additions(answer: Any, sample: Any) -> set[str]:
    """The names of the fields that `answer` has beyond `sample`, at any depth."""
    if isinstance(sample, dict) and isinstance(answer, dict):
        below = {name for key in sample if key in answer for name in additions(answer[key], sample[key])}
        return (answer.keys() - sample.keys()) | below
    if isinstance(sample, list) and isinstance(answer, list):
        return {name for item in answer for name in additions(item, sample[0])}
    return set()


def at_path(value: Any, path: str) -> Any:
    """`at_path({"data": {"page": 1}}, "data.page")` is 1."""
    for name in path.split("."):
        value = value[name]
    return value
