"""Only a definite rejection by the provider counts as a failure."""

from typing import Any

import pytest

from shared.provider.outcomes import Accepted, Rejected, Throttled, Unknown, backoff_seconds, classify_response

ERROR = {"error": {"code": "BANK_REJECTED", "message": "Account closed"}}


@pytest.mark.parametrize("status", [400, 402, 404, 422])
def test_a_rejection_status_with_an_error_code_is_a_definite_rejection(status: int) -> None:
    assert classify_response(status, ERROR, None) == Rejected("BANK_REJECTED", "Account closed")


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 408, 409, 422, 425, 500, 502, 503, 504])
@pytest.mark.parametrize("body", [None, [], {}, {"error": "text"}, "<html>"])
def test_an_error_without_the_providers_error_code_is_unknown(status: int, body: Any) -> None:
    """A proxy's 404 or error page must not fail a payout."""
    assert isinstance(classify_response(status, body, None), Unknown)


@pytest.mark.parametrize("status", [401, 403, 409, 500, 503])
def test_credential_conflict_and_server_errors_are_unknown_even_with_a_code(status: int) -> None:
    assert isinstance(classify_response(status, ERROR, None), Unknown)


def test_a_2xx_response_without_data_is_unknown() -> None:
    assert classify_response(201, {"data": {"id": "pay_1"}}, None) == Accepted({"id": "pay_1"})
    assert isinstance(classify_response(200, {"ok": True}, None), Unknown)
    assert isinstance(classify_response(200, None, None), Unknown)


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7.0), (None, 5.0), ("soon", 5.0), ("-3", 0.1), ("999999", 3600.0), ("0.5", 0.5)]
)
def test_retry_after_is_parsed_and_bounded(header: str | None, seconds: float) -> None:
    assert classify_response(429, None, header) == Throttled(seconds)


def test_the_backoff_doubles_up_to_its_limit() -> None:
    waits = [backoff_seconds(attempts) for attempts in (0, 1, 2, 3, 9, 10, 10_000)]
    assert waits == [1, 1, 2, 4, 256, 300, 300]
