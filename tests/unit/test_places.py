"""Places are bounded in all and for each, and free again whatever happens to who held one."""

from contextlib import ExitStack

import pytest

from gateway.concurrency_limit import ConcurrencyLimit
from gateway.http.envelope import ApiError


def test_nobody_gets_more_than_his_share_and_all_no_more_than_there_are() -> None:
    places = ConcurrencyLimit("sign-ins", 3, 2)
    with ExitStack() as held:
        for who in ("a", "a", "b"):
            held.enter_context(places.take(who))
        for who in ("a", "b", "c"):
            with pytest.raises(ApiError, match="Too many sign-ins") as refused, places.take(who):
                pass
            assert (refused.value.status, refused.value.code) == (503, "SERVICE_UNAVAILABLE")
            assert refused.value.headers == {"Retry-After": "1"}
    with places.take("c"), places.take("c"), pytest.raises(ApiError), places.take("c"):
        pass


def test_a_place_is_free_again_after_an_error() -> None:
    places = ConcurrencyLimit("sign-ins", 1, 1)
    for _ in range(2):
        with pytest.raises(LookupError), places.take("a"):
            raise LookupError
