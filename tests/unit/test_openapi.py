"""The OpenAPI document matches the code: each endpoint, each error code, no unresolved reference."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from gateway.openapi.document import build_document
from gateway.openapi.error_codes import STATUS_BY_ERROR_CODE
from gateway.openapi.schemas import SCHEMAS
from gateway.routes import API_PREFIX, ROUTES

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return build_document(ROUTES)


def test_each_endpoint_has_a_response_with_an_example_and_its_errors(document: dict[str, Any]) -> None:
    for route in ROUTES:
        if not route.path.startswith(API_PREFIX):
            continue
        described = document["paths"][route.path][route.method.lower()]
        assert described["summary"], route
        response = described["responses"]["200"]["content"]["application/json"]
        assert response["example"]["success"] is True, route
        assert {"400", "503"} <= described["responses"].keys(), route
        if route.access is not None:
            assert {"401", "403"} <= described["responses"].keys(), route
            assert described["security"], route


def test_each_reference_resolves(document: dict[str, Any]) -> None:
    named = set(re.findall(rf'"{re.escape(SCHEMAS)}([^"]+)"', json.dumps(document)))
    assert named <= document["components"]["schemas"].keys()


def test_operation_ids_are_unique_camel_case_handler_names(document: dict[str, Any]) -> None:
    ids = [one["operationId"] for path in document["paths"].values() for one in path.values()]
    assert len(ids) == len(set(ids))
    assert document["paths"]["/api/v1/payouts"]["get"]["operationId"] == "listPayouts"
    assert all(re.fullmatch("[a-z]+([A-Z][a-z]*)*", one) for one in ids)


def test_only_endpoints_that_move_money_can_be_rejected_as_reconcile_only(document: dict[str, Any]) -> None:
    rejected = {
        f"{method.upper()} {path}"
        for path, operations in document["paths"].items()
        for method, one in operations.items()
        if "RECONCILE_ONLY" in one["responses"].get("503", {}).get("description", "")
    }
    assert rejected == {f"{route.method} {route.path}" for route in ROUTES if route.moves_money}
    assert rejected == {
        "POST /api/v1/batches",
        "POST /api/v1/batches/{id}/release",
        "POST /api/v1/batches/{id}/retry-failed",
        "POST /api/v1/batches/{id}/run",
        "POST /api/v1/funding/topup",
        "POST /api/v1/payouts",
        "POST /api/v1/payouts/bulk",
        "POST /api/v1/payouts/bulk/retry",
        "POST /api/v1/payouts/instant",
        "POST /api/v1/payouts/{id}/retry",
        "POST /api/v1/sandbox/seed",
    }


def test_each_error_code_in_the_code_has_a_documented_status() -> None:
    """Codes are found by their text, as an argument or attribute; the API's own clients have other codes."""
    used: set[str] = set()
    for folder in ("gateway", "shared"):
        for path in (ROOT / folder).rglob("*.py"):
            if ROOT / "shared/cli" in path.parents:
                continue
            text = path.read_text(encoding="utf-8")
            used |= set(re.findall(r'\bcode(?:: \w+)? ?= ?"([A-Z][A-Z_]+)"', text))
            used |= set(re.findall(r'ApiError\(\s*\d+,\s*"([A-Z_]+)"', text))
    assert used - STATUS_BY_ERROR_CODE.keys() - {"CONFLICT", "NOT_PAYABLE"} == set()


def test_patterns_are_valid_in_javascript(document: dict[str, Any]) -> None:
    def patterns(value: Any) -> list[str]:
        if isinstance(value, dict):
            own = [value["pattern"]] if isinstance(value.get("pattern"), str) else []
            return own + [found for one in value.values() for found in patterns(one)]
        return [found for one in value for found in patterns(one)] if isinstance(value, list) else []

    found = patterns(document)
    assert found
    assert not [pattern for pattern in found if "\\Z" in pattern or "(?P" in pattern]
