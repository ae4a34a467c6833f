"""Slots are bounded in all and per caller, and are free again after an error."""

from contextlib import ExitStack

import pytest

from gateway.concurrency_limit import ConcurrencyLimit
from gateway.http.envelope import ApiError


def test_slots_are_limited_in_all_and_per_caller() -> None:
    limit = ConcurrencyLimit("sign-ins", 3, 2)
    with ExitStack() as occupied:
        for caller in ("a", "a", "b"):
            occupied.enter_context(limit.slot(caller))
        for caller in ("a", "b", "c"):
            with pytest.raises(ApiError, match="Too many sign-ins") as rejected, limit.slot(caller):
                pass
            assert (rejected.value.status, rejected.value.code) == (503, "SERVICE_UNAVAILABLE")
            assert rejected.value.headers == {"Retry-After": "1"}
    with limit.slot("c"), limit.slot("c"), pytest.raises(ApiError), limit.slot("c"):
        pass


def test_slot_is_free_again_after_an_error() -> None:
    limit = ConcurrencyLimit("sign-ins", 1, 1)
    for _ in range(2):
        with pytest.raises(LookupError), limit.slot("a"):
            raise LookupError
