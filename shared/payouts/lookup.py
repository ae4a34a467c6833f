"""Looking up: whether the provider has a submission whose key it may have forgotten. Such a key is never re-sent."""

from typing import Any

from shared.ids import SUBMISSION, show
from shared.models.submissions import SubmissionKind
from shared.payouts.submit import Held
from shared.paystream.client import Paystream
from shared.paystream.outcomes import Accepted, Outcome
from shared.paystream.wire import Call, payments_of_call


def find(paystream: Paystream, held: Held) -> Outcome | None:
    """The provider's record of the submission, as if it had just been answered; None: it has none.

    Anything but a clear yes or no comes back as it is, and is asked again.
    """
    name = show(SUBMISSION, held.id)
    if held.kind is SubmissionKind.PAYMENT:
        outcome = paystream.call(payments_of_call(held.mode, held.request["recipientId"], held.first_sent_at))
        return _chosen(outcome, lambda payment: (payment.get("metadata") or {}).get("submissionId") == name)
    batch = _chosen(
        paystream.call(Call(held.mode, "GET", "/batches", params={"limit": "100"})),
        lambda batch: batch.get("name") == name,
    )
    if isinstance(batch, Accepted):
        return paystream.call(Call(held.mode, "GET", f"/batches/{batch.data['id']}"))
    return batch


def _chosen(outcome: Outcome, wanted: Any) -> Outcome | None:
    if not isinstance(outcome, Accepted) or not isinstance(outcome.data, list):
        return outcome
    for found in outcome.data:
        if isinstance(found, dict) and wanted(found):
            return Accepted(found)
    return None
