"""Refusals: what the domain answers to a request that it will not carry out.

Each is definite: nothing was changed, and the same request would be refused again until something else changes.
The gateway turns `code`, `message` and `details` into the error envelope, `status` into the HTTP status.
"""

from typing import Any


class DomainError(Exception):
    """A request that was understood and is not carried out."""

    status = 400
    code = "VALIDATION_ERROR"
    retry_after_seconds: int | None = None
    """When the same request may succeed by itself, if that is known."""

    def __init__(self, message: str, *, code: str | None = None, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        if code is not None:
            self.code = code


class InvalidRequest(DomainError):
    """A value in the request can't be accepted; `details.field` names it."""


class InsufficientFunds(DomainError):
    """The wallet's available balance does not cover the amount."""

    code = "INSUFFICIENT_FUNDS"


class Forbidden(DomainError):
    """Known, but not allowed to do this."""

    status = 403
    code = "FORBIDDEN"


class NotFound(DomainError):
    """No such object in this wallet (it may be somebody else's: the answer is the same)."""

    status = 404
    code = "NOT_FOUND"


class Conflict(DomainError):
    """The object's current state, or one that exists already, does not allow it."""

    status = 409
    code = "CONFLICT"


class NotPayable(DomainError):
    """Well-formed, but this driver can't be paid now."""

    status = 422
    code = "NOT_PAYABLE"
