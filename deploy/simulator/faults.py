"""Which misbehaviour was asked for, for this call or this payment?

Asked for in three ways: a payment's `metadata.simulate` (a name or a list of names), `[simulate:NAME]` in its
description (the only way in a batch), or a rule of the control endpoint. The README has the table.
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

# What each name's argument is: None, a code, or seconds.
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
    """False lets a fault before processing hit the retries of one key too: an outage."""


class FaultRule(NewFaultRule, kw_only=True):
    id: str
    hits: int = 0
    created_at: str


def validate_fault(fault: Any) -> str:
    """The fault's name with its argument, as given. Raises a 400 for one that does not exist."""
    name, _, argument = fault.partition(":") if isinstance(fault, str) else ("", "", "")
    takes = {**CALL_FAULTS, **PAYMENT_FAULTS}.get(name, "nothing of the kind")
    good = takes is None and not argument
    if takes == "code":
        good = bool(_CODE.match(argument))
    elif takes == "seconds":
        good = bool(re.fullmatch(r"\d{1,6}(\.\d{1,6})?", argument))
    if not good:
        message = f"No such fault: {str(fault)[:100]!r}. Known: {', '.join((*CALL_FAULTS, *PAYMENT_FAULTS))}."
        raise invalid(message, error_id="SIMULATE_UNKNOWN_FAULT", field="simulate")
    return str(fault)


def requested_faults(payment: NewPayment) -> list[str]:
    """The faults that a payment itself asks for."""
    found: list[str] = []
    if payment.metadata and "simulate" in payment.metadata:
        asked = payment.metadata["simulate"]
        found += map(validate_fault, asked if isinstance(asked, list) else [asked])
    if payment.description and "[simulate:" in payment.description:
        found += map(validate_fault, _TAG.findall(payment.description))
    return found


def fault_name(fault: str) -> str:
    return fault.partition(":")[0]


def fault_argument(faults: Sequence[str], name: str) -> str | None:
    """The argument of the first fault of that name ("" when it takes none), None when it was not asked for."""
    if not faults:
        return None
    return next((fault.partition(":")[2] for fault in faults if fault_name(fault) == name), None)


class FaultRules:
    """The rules in force, and the memory of what has acted once already."""

    def __init__(self, record: DocumentStore) -> None:
        self._record = record
        self.rules: dict[str, FaultRule] = {}
        self._acted: set[str] = set()

    def start(self) -> None:
        self.rules = {rule.id: rule for rule in self._record.note(RULES_NOTE, list[FaultRule]) or []}
        self._acted = self._record.marks()

    def add(self, new: NewFaultRule) -> FaultRule:
        validate_fault(new.fault)
        rule = FaultRule(
            **{name: getattr(new, name) for name in NewFaultRule.__struct_fields__},
            id=new_id("flt"),
            created_at=now_text(),
        )
        self.rules[rule.id] = rule
        self._keep_rules()
        return rule

    def remove(self, rule_id: str) -> bool:
        found = self.rules.pop(rule_id, None) is not None
        self._keep_rules()
        return found

    def clear(self) -> None:
        self.rules.clear()
        self._keep_rules()

    def call_faults(self, endpoint: str, mode: Mode, payments: list[NewPayment], once_key: str) -> list[str]:
        """The faults of this call; one that acts before processing acts once per key unless its rule says otherwise."""
        chosen: list[str] = []
        for payment in payments:
            for fault in requested_faults(payment):
                if fault_name(fault) in CALL_FAULTS and self._first_time(fault, once_key):
                    chosen.append(fault)
        for rule in list(self.rules.values()):
            if fault_name(rule.fault) not in CALL_FAULTS or not _applies(rule, endpoint, mode, payments):
                continue
            if rule.once_per_key and self._has_acted(rule.fault, once_key):
                continue
            if self._hit(rule):
                self._remember(rule.fault, once_key)
                chosen.append(rule.fault)
        return chosen

    def payment_faults(self, endpoint: str, mode: Mode, payment: NewPayment) -> list[str]:
        """The faults that a payment keeps for its life."""
        chosen = [fault for fault in requested_faults(payment) if fault_name(fault) in PAYMENT_FAULTS]
        for rule in list(self.rules.values()):
            if fault_name(rule.fault) in PAYMENT_FAULTS and _applies(rule, endpoint, mode, [payment]):
                chosen += [rule.fault] if self._hit(rule) else []
        return chosen

    def _hit(self, rule: FaultRule) -> bool:
        if rule.times is not None and rule.hits >= rule.times:
            return False
        if rule.rate is not None and random.random() >= rule.rate:
            return False
        rule.hits += 1
        self._keep_rules()
        return True

    def _first_time(self, fault: str, once_key: str) -> bool:
        if self._has_acted(fault, once_key):
            return False
        self._remember(fault, once_key)
        return True

    def _has_acted(self, fault: str, once_key: str) -> bool:
        return f"{once_key} {fault}" in self._acted

    def _remember(self, fault: str, once_key: str) -> None:
        if fault_name(fault) in BEFORE_PROCESSING:
            self._acted.add(f"{once_key} {fault}")
            self._record.keep_mark(f"{once_key} {fault}")

    def _keep_rules(self) -> None:
        self._record.keep_note(RULES_NOTE, list(self.rules.values()))


def _applies(rule: FaultRule, endpoint: str, mode: Mode, payments: list[NewPayment]) -> bool:
    if rule.endpoint not in ("*", endpoint) or rule.mode not in (None, mode):
        return False
    wanted = rule.match
    if wanted.recipient_id is None and wanted.description_contains is None:
        return True
    return any(
        wanted.recipient_id in (None, payment.recipient_id)
        and (wanted.description_contains is None or wanted.description_contains in (payment.description or ""))
        for payment in payments
    )
