"""What is expected next of a payout, and by when: from its status, its batch, its rail and its submission."""

from datetime import datetime
from typing import NamedTuple

from shared.payouts.rails import RETURN_WINDOW_BUSINESS_DAYS, Arrival, add_business_days, estimate_arrival
from shared.payouts.rows import NON_RETRYABLE_FAILURE_CODES
from shared.payouts.timeline import wording
from shared.payouts.timeline.records import PayoutRecord
from shared.schema.controls import HoldKind
from shared.schema.payouts import BatchStatus, PayoutStatus, Rail, SubmissionStatus

S = PayoutStatus

_PERSONS = frozenset({SubmissionStatus.UNRESOLVED, SubmissionStatus.REJECTED})
"""States of a submission that nothing but a person leads out of, while its payout is `processing`."""


class ExpectedNextStep(NamedTuple):
    """What comes next."""

    kind: str
    """Who or what acts: `batch_release`, `queueing`, `submission`, `provider_webhook`, `return`, `customer`, or
    `person` where nothing moves before somebody of ours has looked."""
    sentence: str
    by: datetime | None
    """When, at the latest; or until when. None: nobody knows."""
    arrival: Arrival | None = None
    """When the driver has the money."""


def expected_next_step(record: PayoutRecord, now: datetime) -> ExpectedNextStep | None:
    """What is expected next; None where the payout has come to its end."""
    payout, status = record.payout, S(record.payout["status"])
    if payout["held_reason"] is not None:
        return ExpectedNextStep("person", "A person at OVN Pay has to look; until then no money moves", None)
    match status:
        case S.VALIDATED:
            return _validated(record)
        case S.QUEUED:
            return _outgoing_held(record) or ExpectedNextStep(
                "submission", "It goes to Paystream", payout["next_action_at"]
            )
        case S.PROCESSING:
            return _processing(record)
        case S.FAILED:
            return _failed(payout["failure_code"])
        case S.COMPLETED if payout["rail"] != Rail.INSTANT:
            until = add_business_days(payout["completed_at"], RETURN_WINDOW_BUSINESS_DAYS)
            if now < until:
                return ExpectedNextStep(
                    "return", "Nothing more; the driver's bank may still send it back in these days", until
                )
    return None


def _validated(record: PayoutRecord) -> ExpectedNextStep:
    payout, batch = record.payout, record.batch
    if payout["reserved"] or batch is None:
        return ExpectedNextStep("queueing", "It is checked once more, and queued", payout["next_action_at"])
    if batch["status"] == BatchStatus.FAILED:
        why = f"{batch['failure_code']}: {batch['failure_message']}"
        return ExpectedNextStep("batch_release", f"Its batch could not be released, and can be again ({why})", None)
    if batch["scheduled_for"] is None:
        return ExpectedNextStep("batch_release", "Somebody releases its batch", None)
    return ExpectedNextStep("batch_release", "Its batch is released", batch["scheduled_for"])


def _outgoing_held(record: PayoutRecord) -> ExpectedNextStep | None:
    """What is waited for while no money may leave. Why, in an operator's words, is not the customer's to read."""
    match record.payout["outgoing"]:
        case HoldKind.FROZEN:
            return ExpectedNextStep(
                "person", "Held: OVN Pay checks the wallet's books; then it goes to Paystream", None
            )
        case HoldKind.PAUSED:
            return ExpectedNextStep(
                "person", "Held: outgoing payments are paused by OVN Pay; then it goes to Paystream", None
            )
    return None


def _processing(record: PayoutRecord) -> ExpectedNextStep:
    payout = record.payout
    submission = next((row for row in record.submissions if row["id"] == payout["submission_id"]), None)
    if submission is None or submission["status"] in _PERSONS:
        return ExpectedNextStep("person", "A person at OVN Pay has to ask Paystream what became of it", None)
    due = submission["next_action_at"]
    if submission["status"] != SubmissionStatus.ACCEPTED and not submission["under_way"]:
        held = _outgoing_held(record)
        if held is not None:
            return held
    match SubmissionStatus(submission["status"]):
        case SubmissionStatus.ACCEPTED:
            sentence = "Paystream's webhook says how it ended; unheard by then, Paystream is asked"
            took_it_at = submission["answered_at"] or submission["created_at"]
            arrives = estimate_arrival(Rail(payout["rail"]), took_it_at)
            return ExpectedNextStep("provider_webhook", sentence, payout["next_action_at"], arrives)
        case _ if submission["under_way"]:
            return ExpectedNextStep(
                "submission", "Paystream answers; unheard by then, it is asked with the same key", due
            )
        case SubmissionStatus.UNKNOWN:
            why = wording.unclear_answer_reason(submission["error_message"])
            return ExpectedNextStep("submission", f"Its outcome is unknown ({why}): asked again with the same key", due)
        case SubmissionStatus.PREPARED if submission["error_message"]:
            return ExpectedNextStep("submission", "Paystream asked us to wait; the same request goes out again", due)
    return ExpectedNextStep("submission", "It is sent to Paystream", due)


def _failed(code: str | None) -> ExpectedNextStep:
    if code in NON_RETRYABLE_FAILURE_CODES:
        sentence = f"Nothing by itself: after {code} trying the same again can't help; its money is available again"
    else:
        sentence = "Somebody may retry it; its money is available again"
    return ExpectedNextStep("customer", sentence, None)
