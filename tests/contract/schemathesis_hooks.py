"""A check for Schemathesis: data that fits the schema is rejected only for one of these reasons."""

from typing import Any

import schemathesis

# Rules that no schema can express: exclusive parameters, a time in the past, a limit of a rail, a range that ends
# before it begins or has too many days, a public host.
FIELDS = frozenset(
    {
        "page",
        "approval_reason",
        "duplicateReason",
        "scheduledFor",
        "amount",
        "X-Sandbox-Scenario",
        "cursor",
        "bankAccount",
        "from",
        "to",
        "interval",
        "url",
        "since",
    }
)
CODES = frozenset(
    {"INSUFFICIENT_FUNDS", "KYC_PENDING", "KYC_REJECTED", "DRIVER_INACTIVE", "IDEMPOTENCY_KEY_REUSED", "RATE_LIMITED"}
)


@schemathesis.hook
def before_call(ctx: Any, case: Any, kwargs: Any) -> None:
    """Drop the scenario with a response time of two seconds; test_sandbox_scenarios.py tests it."""
    if case.headers and case.headers.get("X-Sandbox-Scenario") == "slow_response":
        case.headers["X-Sandbox-Scenario"] = "success"


@schemathesis.check
def refused_for_a_reason(ctx: Any, response: Any, case: Any) -> None:
    """Assert that a request that fits the schema gets 400 or 422 only for a rule that no schema can express."""
    generation = case.meta.generation if case.meta else None
    if generation is None or not generation.mode.is_positive or response.status_code not in (400, 422):
        return
    error = response.json()["error"]
    field = str(error.get("details", {}).get("field", ""))
    if error["code"] in CODES or field in FIELDS or field.startswith("payouts["):
        return
    if "got `float`" in error["message"]:  # 100.0 is an integer in JSON Schema; the API wants digits only
        return
    raise AssertionError(f"Refused for no reason that we know: {error}")
