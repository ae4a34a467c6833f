"""Read the provider's record within its rate limits, with no transaction open."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Final

import msgspec

from shared.controls.reconciliation.provider_payments import ProviderPayment, parse_provider_payment
from shared.platform.clock import format_rfc3339
from shared.provider.client import PaystreamClient
from shared.provider.outcomes import Accepted, CallOutcome, Rejected, Throttled, Unknown
from shared.provider.wire import ProviderCall, get_payment_call

CLOCK_MARGIN: Final = timedelta(hours=1)
"""How much more than the window is read at both ends, because the provider's clock differs from ours."""

PAGES_MAX: Final = 20_000
CALL_ATTEMPTS_MAX: Final = 3


class ProviderRecordUnavailable(Exception):
    """The provider's record can't be read now."""


WaitFunction = Callable[[float], None]
"""Waits a number of seconds; may raise to give up."""


def fail_instead_of_waiting(seconds: float) -> None:
    """Raise ProviderRecordUnavailable: for callers that try again later."""
    raise ProviderRecordUnavailable(f"Paystream accepts no call for {seconds:.0f} s")


def call_provider(paystream: PaystreamClient, call: ProviderCall, wait: WaitFunction) -> CallOutcome:
    """Make a call that only reads; wait while the rate limit is used up.

    Raises:
        ProviderRecordUnavailable: no usable response.
    """
    why = ""
    for attempt in range(CALL_ATTEMPTS_MAX):
        outcome = paystream.call(call)
        while isinstance(outcome, Throttled):
            wait(outcome.retry_after_seconds)
            outcome = paystream.call(call)
        if isinstance(outcome, Accepted | Rejected):
            return outcome
        why = outcome.reason if isinstance(outcome, Unknown) else "the call was not sent"
        wait(1.0 + attempt)
    raise ProviderRecordUnavailable(f"Paystream did not answer GET {call.path}: {why}")


def load_payment_pages(
    paystream: PaystreamClient, mode: str, since: datetime | None, until: datetime | None, wait: WaitFunction
) -> Iterator[list[ProviderPayment]]:
    """Yield pages of the provider's payments created from `since` until `until`, newest first.

    Raises:
        ProviderRecordUnavailable: a page can't be read.

    """
    window = {"startDate": since, "endDate": until}
    params = {name: format_rfc3339(moment) for name, moment in window.items() if moment is not None}
    for _ in range(PAGES_MAX):
        outcome = call_provider(paystream, ProviderCall(mode, "GET", "/payments", params=params), wait)
        if not isinstance(outcome, Accepted) or not isinstance(outcome.data, list):
            raise ProviderRecordUnavailable("Paystream's response is not a list of payments")
        try:
            yield [parse_provider_payment(payment) for payment in outcome.data]
        except msgspec.ValidationError as error:
            raise ProviderRecordUnavailable(f"Paystream's list of payments is malformed: {error}") from error
        if outcome.next_cursor is None:
            return
        params = {**params, "cursor": outcome.next_cursor}
    raise ProviderRecordUnavailable(f"more than {PAGES_MAX} pages")


def load_newest_payments(paystream: PaystreamClient, mode: str, wait: WaitFunction) -> list[ProviderPayment]:
    """Return the newest page; raise as `load_payment_pages` does."""
    return next(load_payment_pages(paystream, mode, None, None, wait), [])


def load_provider_payment(
    paystream: PaystreamClient, mode: str, payment_id: str, wait: WaitFunction
) -> ProviderPayment | None:
    """Return a payment, or None if there is none; raise as `load_payment_pages` does."""
    outcome = call_provider(paystream, get_payment_call(mode, payment_id), wait)
    if isinstance(outcome, Rejected):
        return None
    assert isinstance(outcome, Accepted)
    try:
        return parse_provider_payment(outcome.data)
    except msgspec.ValidationError as error:
        raise ProviderRecordUnavailable(f"Paystream's payment is malformed: {error}") from error


def load_provider_balance_cents(paystream: PaystreamClient, mode: str, wait: WaitFunction) -> int:
    """Return available plus locked balance; raise as `load_payment_pages` does."""
    outcome = call_provider(paystream, ProviderCall(mode, "GET", "/balance/summary"), wait)
    data = outcome.data if isinstance(outcome, Accepted) else None
    try:
        return int(data["availableBalance"]) + int(data["lockedBalance"])  # type: ignore[index]
    except (KeyError, TypeError, ValueError) as error:
        raise ProviderRecordUnavailable(f"Paystream's balance is malformed: {error}") from error
