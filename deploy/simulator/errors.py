"""Paystream's errors and their HTTP statuses."""

from typing import Any


class PaystreamError(Exception):
    """The call fails with this error."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        error_id: str | None = None,
        details: dict[str, Any] | None = None,
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.error_id = error_id
        self.details = details
        self.retry_after_seconds = retry_after_seconds

    @property
    def is_definite(self) -> bool:
        """Whether the response may be stored under the idempotency key: a retry could not succeed."""
        return 400 <= self.status < 500 and self.status not in (401, 408, 409, 429)

    def as_json(self) -> dict[str, Any]:
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.error_id is not None:
            error["errorId"] = self.error_id
        if self.details is not None:
            error["details"] = self.details
        return {"error": error}


def invalid(message: str, *, error_id: str | None = None, field: str | None = None) -> PaystreamError:
    details = None if field is None else {"field": field}
    return PaystreamError(400, "VALIDATION_ERROR", message, error_id=error_id, details=details)


def not_found(what: str) -> PaystreamError:
    return PaystreamError(404, "NOT_FOUND", f"No such {what}.")


def rejected(code: str, message: str, **details: Any) -> PaystreamError:
    return PaystreamError(422, code, message, details=details or None)


def conflict(code: str, message: str, **details: Any) -> PaystreamError:
    return PaystreamError(409, code, message, details=details or None)


def too_many(message: str, retry_after_seconds: int) -> PaystreamError:
    return PaystreamError(429, "RATE_LIMIT_EXCEEDED", message, retry_after_seconds=retry_after_seconds)
