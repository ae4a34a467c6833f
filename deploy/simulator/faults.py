"""Faults: misbehavior that a test requests for a call or a payment.

Requested by a payment's `metadata.simulate` (a name or a list), by `[simulate:NAME]` in its description (the only way
in a batch), or by a rule at the control endpoint. The README has the table.
"""

import random
import re
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

from deploy.simulator.document_store import DocumentStore
from deploy.simulator.documents import Mode
from deploy.simulator.errors import invalid
from deploy.simulator.request_bodies import NewPayment, RequestBody
from deploy.simulator.time_and_ids import new_id, now_text

# Fault name to its argument: None, a code, or seconds.
CALL_FAULTS = {
    "rate_limited": None,
    "error_500": None,
    "timeout_before_accept": None,
    "reject": "code",
    "repeat": None,
    "error_500_after_accept": None,
    "timeout_after_accept": None,
    "slow": "seconds",
}
PAYMENT_FAULTS = {
    "fail": "code",
    "return": "code",
    "stuck": None,
    "duplicate_webhook": None,
    "late_webhook": "seconds",
    "reorder_webhooks": None,
    "lost_webhook": None,
    "forged_webhook": None,
}
BEFORE_PROCESSING = ("rate_limited", "error_500", "timeout_before_accept")

Endpoint = Literal["payments", "batches", "recipients", "topup", "reads", "*"]
_TAG = re.compile(r"\[simulate:([^\]]*)\]")
_CODE = re.compile(r"^[A-Z0-9_]{1,64}$")
RULES_NOTE = "fault rules"


class RuleMatch(RequestBody, kw_only=True, forbid_unknown_fields=True):
    recipient_id: str | None = None
    description_contains: str | None = None


class NewFaultRule(RequestBody, kw_only=True, forbid_unknown_fields=True):
    error_prefix: ClassVar[str] = "FAULT"

    fault: str
    times: Annotated[int, Meta(ge=1)] | None = None
    rate: Annotated[float, Meta(ge=0, le=1)] | None = None
    endpoint: Endpoint = "*"
    mode: Mode | None = None
    match: RuleMatch = msgspec.field(default_factory=RuleMatch)
    once_per_key: bool = True
    """False applies a fault before processing to retries with the same key too, like an outage."""


class FaultRule(NewFaultRule, kw_only=True):
    id: str
    hits: int = 0
    created_at: str


def validate_fault(fault: Any) -> str:
    """Return the fault as given; raise a 400 if it does not exist."""
    name, _, argument = fault.partition(":") if isinstance(fault, str) else ("", "", "")
    argument_kind = {**CALL_FAULTS, **PAYMENT_FAULTS}.get(name, "unknown")
    valid = argument_kind is None and not argument
    if argument_kind == "code":
        valid = bool(_CODE.match(argument))
    elif argument_kind == "seconds":
        valid = bool(re.fullmatch(r"\d{1,6}(\.\d{1,6})?", argument))
    if not valid:
        message = f"Unknown fault {str(fault)[:100]!r}. Known faults: {', '.join((*CALL_FAULTS, *PAYMENT_FAULTS))}."
        raise invalid(message, error_id="SIMULATE_UNKNOWN_FAULT", field="simulate")
    return str(fault)


def requested_faults(payment: NewPayment) -> list[str]:
    """Return the faults that a payment requests itself."""
    found: list[str] = []
    if payment.metadata and "simulate" in payment.metadata:
        requested = payment.metadata["simulate"]
        found += map(validate_fault, requested if isinstance(requested, list) else [requested])
    if payment.description and "[simulate:" in payment.description:
        found += map(validate_fault, _TAG.findall(payment.description))
    return found


def fault_name(fault: str) -> str:
    return fault.partition(":")[0]


def fault_argument(faults: Sequence[str], name: str) -> str | None:
    """Return the argument of the first fault with that name: "" if it has none, None if it was not requested."""
    if not faults:
        return None
    return next((fault.partition(":")[2] for fault in faults if fault_name(fault) == name), None)


class FaultRules:
    """The active rules, and the faults that were applied to a key."""

    def __init__(self, store: DocumentStore) -> None:
        self._store = store
        self.rules: dict[str, FaultRule] = {}
        self._applied: set[str] = set()

    def start(self) -> None:
        self.rules = {rule.id: rule for rule in self._store.load_note(RULES_NOTE, list[FaultRule]) or []}
        self._applied = self._store.load_marks()

    def add(self, new: NewFaultRule) -> FaultRule:
        validate_fault(new.fault)
        rule = FaultRule(
            **{name: getattr(new, name) for name in NewFaultRule.__struct_fields__},
            id=new_id("flt"),
            created_at=now_text(),
        )
        self.rules[rule.id] = rule
        self._save_rules()
        return rule

    def remove(self, rule_id: str) -> bool:
        found = self.rules.pop(rule_id, None) is not None
        self._save_rules()
        return found

    def clear(self) -> None:
        self.rules.clear()
        self._save_rules()

    def call_faults(self, endpoint: str, mode: Mode, payments: list[NewPayment], once_key: str) -> list[str]:
        """Return the faults of a call. A fault before processing applies once per key, unless its rule differs."""
        selected: list[str] = []
        for payment in payments:
            for fault in requested_faults(payment):
                if fault_name(fault) in CALL_FAULTS and self._apply_once(fault, once_key):
                    selected.append(fault)
        for rule in list(self.rules.values()):
            if fault_name(rule.fault) not in CALL_FAULTS or not _applies(rule, endpoint, mode, payments):
                continue
            if rule.once_per_key and self._was_applied(rule.fault, once_key):
                continue
            if self._count_hit(rule):
                self._mark_applied(rule.fault, once_key)
                selected.append(rule.fault)
        return selected

    def payment_faults(self, endpoint: str, mode: Mode, payment: NewPayment) -> list[str]:
        """Return the faults that stay with a payment."""
        selected = [fault for fault in requested_faults(payment) if fault_name(fault) in PAYMENT_FAULTS]
        for rule in list(self.rules.values()):
            if fault_name(rule.fault) in PAYMENT_FAULTS and _applies(rule, endpoint, mode, [payment]):
                selected += [rule.fault] if self._count_hit(rule) else []
        return selected

    def _count_hit(self, rule: FaultRule) -> bool:
        if rule.times is not None and rule.hits >= rule.times:
            return False
        if rule.rate is not None and random.random() >= rule.rate:
            return False
        rule.hits += 1
        self._save_rules()
        return True

    def _apply_once(self, fault: str, once_key: str) -> bool:
        if self._was_applied(fault, once_key):
            return False
        self._mark_applied(fault, once_key)
        return True

    def _was_applied(self, fault: str, once_key: str) -> bool:
        return f"{once_key} {fault}" in self._applied

    def _mark_applied(self, fault: str, once_key: str) -> None:
        if fault_name(fault) in BEFORE_PROCESSING:
            self._applied.add(f"{once_key} {fault}")
            self._store.save_mark(f"{once_key} {fault}")

    def _save_rules(self) -> None:
        self._store.save_note(RULES_NOTE, list(self.rules.values()))


def _applies(rule: FaultRule, endpoint: str, mode: Mode, payments: list[NewPayment]) -> bool:
    if rule.endpoint not in ("*", endpoint) or rule.mode not in (None, mode):
        return False
    match = rule.match
    if match.recipient_id is None and match.description_contains is None:
        return True
    return any(
        match.recipient_id in (None, payment.recipient_id)
        and (match.description_contains is None or match.description_contains in (payment.description or ""))
        for payment in payments
    )
