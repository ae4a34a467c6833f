"""The OpenAPI document says what the code does: every endpoint, every code, nothing that can't be resolved."""

import json
import re
from pathlib import Path
from typing import Any

from gateway.openapi.document import SCHEMAS, STATUS_BY_ERROR_CODE, build_document
from gateway.routes import API_PREFIX, ROUTES

ROOT = Path(__file__).parents[2]


def test_every_endpoint_is_there_with_its_answer_and_an_example() -> None:
    """Except those of the documentation itself."""
    paths = build_document()["paths"]
    for route in ROUTES:
        if not route.path.startswith(API_PREFIX):
            continue
        described = paths[route.path][route.method.lower()]
        assert described["summary"], route
        answer = described["responses"]["200"]["content"]["application/json"]
        assert answer["example"]["success"] is True, route
        assert {"400", "503"} <= described["responses"].keys(), route
        if route.access is not None:
            assert {"401", "403"} <= described["responses"].keys(), route
            assert described["security"], route


def test_every_reference_resolves() -> None:
    """And every id of an operation is its own."""
    made = build_document()
    named = set(re.findall(rf'"{re.escape(SCHEMAS)}([^"]+)"', json.dumps(made)))
    assert named <= made["components"]["schemas"].keys()
    ids = [one["operationId"] for path in made["paths"].values() for one in path.values()]
    assert len(ids) == len(set(ids))


def test_every_code_in_the_code_has_its_status_here() -> None:
    """Found as the text of a refusal's or an error's code; the API's clients have codes of their own."""
    used: set[str] = set()
    for folder in ("gateway", "shared"):
        for path in (ROOT / folder).rglob("*.py"):
            if ROOT / "shared/cli" in path.parents:
                continue
            text = path.read_text(encoding="utf-8")
            used |= set(re.findall(r'\bcode(?:: \w+)? ?= ?"([A-Z][A-Z_]+)"', text))
            used |= set(re.findall(r'ApiError\(\s*\d+,\s*"([A-Z_]+)"', text))
    assert used - STATUS_BY_ERROR_CODE.keys() - {"CONFLICT", "NOT_PAYABLE"} == set()


def test_no_pattern_is_pythons_alone() -> None:
    """JavaScript has no \\Z."""

    def patterns(value: Any) -> list[str]:
        if isinstance(value, dict):
            own = [value["pattern"]] if isinstance(value.get("pattern"), str) else []
            return own + [found for one in value.values() for found in patterns(one)]
        return [found for one in value for found in patterns(one)] if isinstance(value, list) else []

    found = patterns(build_document())
    assert found
    assert not [pattern for pattern in found if "\\Z" in pattern or "(?P" in pattern]
