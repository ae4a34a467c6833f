"""Looking up: whether the provider has a submission whose key it may have forgotten. Such a key is never re-sent."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from shared.payouts.submission_leases import LeasedSubmission
from shared.platform.clock import format_rfc3339
from shared.platform.ids import SUBMISSION, public_id
from shared.provider.client import PaystreamClient
from shared.provider.outcomes import Accepted, CallOutcome, Rejected, Unknown
from shared.provider.wire import ProviderCall
from shared.schema.payouts import SubmissionKind

LOOKUP_MARGIN: Final = timedelta(hours=1)
"""How much before our first sending we begin to look: the provider's clock is not ours."""

LOOKUP_PAGES_MAX: Final = 200


def find_payment(paystream: PaystreamClient, held: LeasedSubmission) -> CallOutcome | None:
    """The provider's record of the submission, as if it had just been answered; None: it has none.

    Anything but a clear yes or no is unknown, and asked again: that a question was refused says nothing about the
    payment.
    """
    name, since = public_id(SUBMISSION, held.id), held.first_sent_at - LOOKUP_MARGIN
    if held.kind is SubmissionKind.PAYMENT:
        params = {"recipientId": str(held.request["recipientId"]), "startDate": format_rfc3339(since)}
        return _paged(
            paystream, ProviderCall(held.mode, "GET", "/payments", params=params), since, _of_submission(name)
        )
    found = _paged(
        paystream, ProviderCall(held.mode, "GET", "/batches", params={}), since, lambda batch: batch.get("name") == name
    )
    if isinstance(found, Accepted):
        found = _answered(paystream.call(ProviderCall(held.mode, "GET", f"/batches/{found.data['id']}")))
    return found


def _of_submission(name: str) -> Callable[[dict[str, Any]], bool]:
    def wanted(payment: dict[str, Any]) -> bool:
        metadata = payment.get("metadata")
        return isinstance(metadata, dict) and metadata.get("submissionId") == name

    return wanted


def _paged(
    paystream: PaystreamClient, call: ProviderCall, since: datetime, wanted: Callable[[dict[str, Any]], bool]
) -> CallOutcome | None:
    """Reads a list, newest first, until what is wanted is found or everything since then was seen."""
    for _ in range(LOOKUP_PAGES_MAX):
        outcome = _answered(paystream.call(call))
        if not isinstance(outcome, Accepted):
            return outcome
        if not isinstance(outcome.data, list):
            return Unknown("Paystream answered a list with something else")
        for found in outcome.data:
            if isinstance(found, dict) and wanted(found):
                return Accepted(found)
        if outcome.next_cursor is None or _older(outcome.data, since):
            return None
        call = call._replace(params={**(call.params or {}), "cursor": outcome.next_cursor})
    return Unknown(f"not among the newest {LOOKUP_PAGES_MAX} pages")


def _older(page: list[Any], since: datetime) -> bool:
    """Whether the page's last entry was made before then."""
    last = page[-1] if page else None
    try:
        return isinstance(last, dict) and datetime.fromisoformat(str(last["createdAt"])).astimezone(UTC) < since
    except (KeyError, ValueError):
        return False


def _answered(outcome: CallOutcome) -> CallOutcome:
    if isinstance(outcome, Rejected):
        return Unknown(f"the question was refused: {outcome.code}", outcome.message)
    return outcome
