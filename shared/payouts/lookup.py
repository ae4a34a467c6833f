"""Lookup: whether the provider has a submission whose key may have expired; such a key is never sent again."""

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
"""How long before the first sending the lookup starts, since the provider's clock differs from ours."""

LOOKUP_PAGES_MAX: Final = 200


def find_payment(paystream: PaystreamClient, leased: LeasedSubmission) -> CallOutcome | None:
    """Return the provider's record of the submission as the outcome of a call; None if it has none.

    Any unclear response is `Unknown`, and looked up again: a rejected lookup says nothing about the payment.
    """
    name, since = public_id(SUBMISSION, leased.id), leased.first_sent_at - LOOKUP_MARGIN
    if leased.kind is SubmissionKind.PAYMENT:
        params = {"recipientId": str(leased.request["recipientId"]), "startDate": format_rfc3339(since)}
        call = ProviderCall(leased.mode, "GET", "/payments", params=params)
        return _search_pages(paystream, call, since, lambda payment: _has_submission_id(payment, name))
    call = ProviderCall(leased.mode, "GET", "/batches", params={})
    found = _search_pages(paystream, call, since, lambda batch: batch.get("name") == name)
    if isinstance(found, Accepted):
        batch = paystream.call(ProviderCall(leased.mode, "GET", f"/batches/{found.data['id']}"))
        found = _unknown_if_rejected(batch)
    return found


def _has_submission_id(payment: dict[str, Any], submission_id: str) -> bool:
    metadata = payment.get("metadata")
    return isinstance(metadata, dict) and metadata.get("submissionId") == submission_id


def _search_pages(
    paystream: PaystreamClient, call: ProviderCall, since: datetime, is_wanted: Callable[[dict[str, Any]], bool]
) -> CallOutcome | None:
    """Read a list, newest first, down to the wanted entry or the first one before `since`."""
    for _ in range(LOOKUP_PAGES_MAX):
        outcome = _unknown_if_rejected(paystream.call(call))
        if not isinstance(outcome, Accepted):
            return outcome
        if not isinstance(outcome.data, list):
            return Unknown("Paystream answered a list with something else")
        for found in outcome.data:
            if isinstance(found, dict) and is_wanted(found):
                return Accepted(found)
        if outcome.next_cursor is None or _ends_before(outcome.data, since):
            return None
        call = call._replace(params={**(call.params or {}), "cursor": outcome.next_cursor})
    return Unknown(f"not among the newest {LOOKUP_PAGES_MAX} pages")


def _ends_before(page: list[Any], since: datetime) -> bool:
    last = page[-1] if page else None
    try:
        return isinstance(last, dict) and datetime.fromisoformat(str(last["createdAt"])).astimezone(UTC) < since
    except (KeyError, ValueError):
        return False


def _unknown_if_rejected(outcome: CallOutcome) -> CallOutcome:
    if isinstance(outcome, Rejected):
        return Unknown(f"the lookup was rejected: {outcome.code}", outcome.message)
    return outcome
