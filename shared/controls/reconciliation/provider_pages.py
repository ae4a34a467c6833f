"""Asking: the provider's own record, page by page, within its limits; no transaction is open meanwhile."""

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
"""How much more than the window is read at both ends: the provider's clock is not ours."""

PAGES_MAX: Final = 20_000
CALL_ATTEMPTS_MAX: Final = 3


class ProviderRecordUnavailable(Exception):
    """The provider did not tell its record; nothing can be said about it now."""


WaitFunction = Callable[[float], None]
"""Waits so many seconds; may raise to give up."""


def fail_instead_of_waiting(seconds: float) -> None:
    """Does not wait: whoever can't wait asks later."""
    raise ProviderRecordUnavailable(f"Paystream takes no question for {seconds:.0f} s")


def call_provider(paystream: PaystreamClient, call: ProviderCall, pause: WaitFunction) -> CallOutcome:
    """Asks one question, and waits for room where there is none.

    Raises:
        NotTold: nothing of use came back.

    """
    why = ""
    for tried in range(CALL_ATTEMPTS_MAX):
        outcome = paystream.call(call)
        while isinstance(outcome, Throttled):
            pause(outcome.retry_after_seconds)
            outcome = paystream.call(call)
        if isinstance(outcome, Accepted | Rejected):
            return outcome
        why = outcome.reason if isinstance(outcome, Unknown) else "it was not asked"
        pause(1.0 + tried)
    raise ProviderRecordUnavailable(f"Paystream did not answer GET {call.path}: {why}")


def load_payment_pages(
    paystream: PaystreamClient, mode: str, since: datetime | None, until: datetime | None, pause: WaitFunction
) -> Iterator[list[ProviderPayment]]:
    """The provider's payments made from `since` until `until`, newest first, a page at a time.

    Raises:
        NotTold: a page was not to be had, or can't be read.

    """
    window = {"startDate": since, "endDate": until}
    params = {name: format_rfc3339(moment) for name, moment in window.items() if moment is not None}
    for _ in range(PAGES_MAX):
        outcome = call_provider(paystream, ProviderCall(mode, "GET", "/payments", params=params), pause)
        if not isinstance(outcome, Accepted) or not isinstance(outcome.data, list):
            raise ProviderRecordUnavailable("Paystream answered the list of payments with something else")
        try:
            yield [parse_provider_payment(one) for one in outcome.data]
        except msgspec.ValidationError as error:
            raise ProviderRecordUnavailable(
                f"Paystream's list of payments is not what it documents: {error}"
            ) from error
        if outcome.next_cursor is None:
            return
        params = {**params, "cursor": outcome.next_cursor}
    raise ProviderRecordUnavailable(f"more than {PAGES_MAX} pages")


def load_newest_payments(paystream: PaystreamClient, mode: str, pause: WaitFunction) -> list[ProviderPayment]:
    """The newest page of all; raises as `load_payment_pages` does."""
    return next(load_payment_pages(paystream, mode, None, None, pause), [])


def load_provider_payment(
    paystream: PaystreamClient, mode: str, payment_id: str, pause: WaitFunction
) -> ProviderPayment | None:
    """A single payment; None: the provider has none by that id. Raises as `load_payment_pages` does."""
    outcome = call_provider(paystream, get_payment_call(mode, payment_id), pause)
    if isinstance(outcome, Rejected):
        return None
    assert isinstance(outcome, Accepted)
    try:
        return parse_provider_payment(outcome.data)
    except msgspec.ValidationError as error:
        raise ProviderRecordUnavailable(f"Paystream's payment is not what it documents: {error}") from error


def load_provider_balance_cents(paystream: PaystreamClient, mode: str, pause: WaitFunction) -> int:
    """What the provider holds for us, available and locked; raises as `load_payment_pages` does."""
    outcome = call_provider(paystream, ProviderCall(mode, "GET", "/balance/summary"), pause)
    data = outcome.data if isinstance(outcome, Accepted) else None
    try:
        return int(data["availableBalance"]) + int(data["lockedBalance"])  # type: ignore[index]
    except (KeyError, TypeError, ValueError) as error:
        raise ProviderRecordUnavailable(f"Paystream's balance is not what it documents: {error}") from error
