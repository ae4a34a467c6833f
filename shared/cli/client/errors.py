"""Exit codes and errors of the client commands."""

import enum
from collections.abc import Mapping
from typing import Any


class ExitCode(enum.IntEnum):
    """Exit code of a client command."""

    DONE = 0
    """Every payout is paid; or the batch is scheduled or waits for its release, as requested."""
    FAILED = 1
    """A payout failed, or the API rejected a request."""
    NOT_SENT = 2
    """Nothing was submitted: the command or the file is invalid, or the confirmation was declined."""
    UNKNOWN = 3
    """The API can't be reached, or its response was lost. Running the command again is safe."""
    INTERRUPTED = 130
    """Ctrl-C. It stops the command, not the payouts."""


class CommandError(Exception):
    """Ends a command with a message and an exit code."""

    exit_code = ExitCode.FAILED
    code = "FAILED"

    def to_json(self) -> dict[str, Any]:
        """Return the error object of the `--json` document."""
        return {"code": self.code, "message": str(self)}


class UsageError(CommandError):
    """The command line, environment or file is invalid; nothing was sent."""

    exit_code = ExitCode.NOT_SENT
    code = "USAGE"


class Interrupted(CommandError):
    """Ctrl-C."""

    exit_code = ExitCode.INTERRUPTED
    code = "INTERRUPTED"


class ApiUnreachable(CommandError):
    """The API gave no usable response after all attempts."""

    exit_code = ExitCode.UNKNOWN
    code = "UNREACHABLE"


class ApiRejected(CommandError):
    """A definite error response of the API."""

    def __init__(
        self, status: int, code: str, message: str, details: Mapping[str, Any], request_id: str, *, is_replay: bool
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.details = details
        self.request_id = request_id
        self.is_replay = is_replay
        """Whether this is the stored response to an earlier request with the same Idempotency-Key."""

    def __str__(self) -> str:
        return f"{super().__str__().rstrip('.')} ({self.code}, request {self.request_id or 'without an id'})"

    def to_json(self) -> dict[str, Any]:
        error = {"code": self.code, "message": self.args[0], "status": self.status, "requestId": self.request_id}
        return error | ({"details": dict(self.details)} if self.details else {})
