"""How a client's command ends: its exit codes, and the errors that lead to them."""

import enum
from collections.abc import Mapping
from typing import Any


class ExitCode(enum.IntEnum):
    """What the exit code tells."""

    DONE = 0
    """All paid; or scheduled, or held, as asked."""
    FAILED = 1
    """A payout failed, or the API refused something."""
    NOT_SENT = 2
    """Nothing was handed in: the command or the file is wrong, or the answer was no."""
    UNKNOWN = 3
    """The API can't be reached, or its answer was lost: safe to run again."""
    INTERRUPTED = 130
    """Ctrl-C: of the command, not of the payments."""


class CommandError(Exception):
    """Why a command ends here, in a sentence."""

    exit_code = ExitCode.FAILED
    code = "FAILED"

    def public(self) -> dict[str, Any]:
        """The error as `--json` shows it."""
        return {"code": self.code, "message": str(self)}


class UsageError(CommandError):
    """The command can't be carried out as it was given; nothing was sent."""

    exit_code = ExitCode.NOT_SENT
    code = "USAGE"


class ApiUnreachable(CommandError):
    """The API did not answer, again and again."""

    exit_code = ExitCode.UNKNOWN
    code = "UNREACHABLE"


class ApiRejected(CommandError):
    """The API's definite no."""

    def __init__(
        self, status: int, code: str, message: str, details: Mapping[str, Any], request_id: str, *, replayed: bool
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.details = details
        self.request_id = request_id
        self.replayed = replayed
        """Whether this is the answer to an earlier request under the same Idempotency-Key."""

    def __str__(self) -> str:
        return f"{super().__str__().rstrip('.')} ({self.code}, request {self.request_id or 'without an id'})"

    def public(self) -> dict[str, Any]:
        shown = {"code": self.code, "message": self.args[0], "status": self.status, "requestId": self.request_id}
        return shown | ({"details": dict(self.details)} if self.details else {})
