"""Errors of the domain. Each is definite: nothing was changed, and a repeat fails until something else changes.

The gateway turns `code`, `message` and `details` into the error envelope, and `status` into the HTTP status.
"""

from typing import Any


class DomainError(Exception):
    """A request that was understood and is rejected."""

    status = 400
    code = "VALIDATION_ERROR"
    retry_after_seconds: int | None = None
    """When the same request may succeed, if that is known."""

    def __init__(self, message: str, *, code: str | None = None, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        if code is not None:
            self.code = code


class InvalidRequest(DomainError):
    """A value in the request is not valid; `details.field` names it."""


class InsufficientFunds(DomainError):
    """The wallet's available balance does not cover the amount."""

    code = "INSUFFICIENT_FUNDS"


class Forbidden(DomainError):
    """The caller is known but lacks the permission."""

    status = 403
    code = "FORBIDDEN"


class NotFound(DomainError):
    """The wallet has no such object. Another wallet's object gets the same answer."""

    status = 404
    code = "NOT_FOUND"


class Conflict(DomainError):
    """The object's current state, or an object that exists already, does not allow the request."""

    status = 409
    code = "CONFLICT"


class NotPayable(DomainError):
    """The request is valid, but this driver can't be paid now."""

    status = 422
    code = "NOT_PAYABLE"
