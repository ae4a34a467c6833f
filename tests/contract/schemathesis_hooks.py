"""Schemathesis's check of our own: what fits the schema is refused for one of these reasons, or not at all."""

from typing import Any

import schemathesis

# What a schema can't say: two parameters that exclude each other, a time that is past, a limit by rail, a range that
# ends before it begins or has too many days, a public host.
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
    """Saves the two seconds of a slow answer, hundreds of times; test_sandbox_scenarios.py has it."""
    if case.headers and case.headers.get("X-Sandbox-Scenario") == "slow_response":
        case.headers["X-Sandbox-Scenario"] = "success"


@schemathesis.check
def refused_for_a_reason(ctx: Any, response: Any, case: Any) -> None:
    """A request that fits the schema is refused with 400 or 422 only for a reason that no schema can say."""
    generation = case.meta.generation if case.meta else None
    if generation is None or not generation.mode.is_positive or response.status_code not in (400, 422):
        return
    error = response.json()["error"]
    field = str(error.get("details", {}).get("field", ""))
    if error["code"] in CODES or field in FIELDS or field.startswith("payouts["):
        return
    if "got `float`" in error["message"]:  # 100.0 is an integer to JSON Schema; to us, an amount is written in digits
        return
    raise AssertionError(f"Refused for no reason that we know: {error}")
