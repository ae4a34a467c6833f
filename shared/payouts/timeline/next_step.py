"""The expected next step of a payout and its deadline, from its status, batch, rail and submission."""

from datetime import datetime
from typing import NamedTuple

from shared.payouts.rails import RETURN_WINDOW_BUSINESS_DAYS, Arrival, add_business_days, estimate_arrival
from shared.payouts.rows import NON_RETRYABLE_FAILURE_CODES
from shared.payouts.timeline import wording
from shared.payouts.timeline.records import PayoutRecord
from shared.schema.controls import HoldKind
from shared.schema.payouts import BatchStatus, PayoutStatus, Rail, SubmissionStatus

S = PayoutStatus

_NEEDS_OPERATOR = frozenset({SubmissionStatus.UNRESOLVED, SubmissionStatus.REJECTED})
"""Submission statuses that only an operator can change while the payout is `processing`."""


class ExpectedNextStep(NamedTuple):
    """What happens next, and by when."""

    kind: str
    """What acts: `batch_release`, `queueing`, `submission`, `provider_webhook`, `return`, `customer`, or `person`: an
    operator of ours."""
    sentence: str
    by: datetime | None
    """The deadline, or for a return the end of its window; None if unknown."""
    arrival: Arrival | None = None
    """When the driver receives the money."""


def expected_next_step(record: PayoutRecord, now: datetime) -> ExpectedNextStep | None:
    """The expected next step; None if the payout is final."""
    payout, status = record.payout, S(record.payout["status"])
    if payout["held_reason"] is not None:
        return ExpectedNextStep("person", "An operator of OVN Pay has to review it; no money moves until then", None)
    match status:
        case S.VALIDATED:
            return _validated(record)
        case S.QUEUED:
            return _outgoing_hold(record) or ExpectedNextStep(
                "submission", "It is submitted to Paystream", payout["next_action_at"]
            )
        case S.PROCESSING:
            return _processing(record)
        case S.FAILED:
            return _failed(payout["failure_code"])
        case S.COMPLETED if payout["rail"] != Rail.INSTANT:
            until = add_business_days(payout["completed_at"], RETURN_WINDOW_BUSINESS_DAYS)
            if now < until:
                return ExpectedNextStep("return", "None; the driver's bank may still return it until then", until)
    return None


def _validated(record: PayoutRecord) -> ExpectedNextStep:
    payout, batch = record.payout, record.batch
    if payout["reserved"] or batch is None:
        return ExpectedNextStep("queueing", "The driver is checked again; then it is queued", payout["next_action_at"])
    if batch["status"] == BatchStatus.FAILED:
        why = f"{batch['failure_code']}: {batch['failure_message']}"
        return ExpectedNextStep("batch_release", f"Release its batch again: it failed ({why})", None)
    if batch["scheduled_for"] is None:
        return ExpectedNextStep("batch_release", "Release its batch", None)
    return ExpectedNextStep("batch_release", "Its batch is released", batch["scheduled_for"])


def _outgoing_hold(record: PayoutRecord) -> ExpectedNextStep | None:
    match record.payout["outgoing"]:
        case HoldKind.FROZEN:
            return ExpectedNextStep(
                "person", "On hold: OVN Pay is checking the wallet's ledger; then submission to Paystream", None
            )
        case HoldKind.PAUSED:
            return ExpectedNextStep(
                "person", "On hold: outgoing payments are paused by OVN Pay; then submission to Paystream", None
            )
    return None


def _processing(record: PayoutRecord) -> ExpectedNextStep:
    payout = record.payout
    submission = next((row for row in record.submissions if row["id"] == payout["submission_id"]), None)
    if submission is None or submission["status"] in _NEEDS_OPERATOR:
        return ExpectedNextStep("person", "An operator of OVN Pay has to ask Paystream for its outcome", None)
    due = submission["next_action_at"]
    if submission["status"] != SubmissionStatus.ACCEPTED and not submission["under_way"]:
        hold = _outgoing_hold(record)
        if hold is not None:
            return hold
    match SubmissionStatus(submission["status"]):
        case SubmissionStatus.ACCEPTED:
            sentence = "Paystream's webhook reports its outcome; without it by then, Paystream is polled"
            accepted_at = submission["answered_at"] or submission["created_at"]
            arrives = estimate_arrival(Rail(payout["rail"]), accepted_at)
            return ExpectedNextStep("provider_webhook", sentence, payout["next_action_at"], arrives)
        case _ if submission["under_way"]:
            return ExpectedNextStep(
                "submission", "Paystream responds; without a response by then, it is asked again with the same key", due
            )
        case SubmissionStatus.UNKNOWN:
            why = wording.unclear_answer_reason(submission["error_message"])
            return ExpectedNextStep("submission", f"Its outcome is unknown ({why}): asked again with the same key", due)
        case SubmissionStatus.PREPARED if submission["error_message"]:
            return ExpectedNextStep("submission", "Not processed yet; the same request is sent again", due)
    return ExpectedNextStep("submission", "It is sent to Paystream", due)


def _failed(code: str | None) -> ExpectedNextStep:
    if code in NON_RETRYABLE_FAILURE_CODES:
        sentence = f"None: a retry can't fix {code}; its amount is available again"
    else:
        sentence = "You can retry it; its amount is available again"
    return ExpectedNextStep("customer", sentence, None)
