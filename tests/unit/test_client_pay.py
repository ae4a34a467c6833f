"""`ovnpay pay` when the API fails between the plan and the end."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from shared.cli.client.connection import Connection
from shared.cli.client.errors import ApiRejected, ApiUnreachable, ExitCode, UsageError
from shared.cli.client.output import Output
from shared.cli.client.pay import PayCommand
from shared.cli.client.pay_options import PayOptions, payment_terms
from shared.cli.client.transport import ApiResponse

COSTS = {"payoutCount": 1, "totalAmount": 10_000, "totalFees": 50, "netAmount": 9_950}


class FailingApi:
    """An API with one driver and $100 that fails at the release, or while the batch is watched."""

    def __init__(self, *, release: Exception | None = None, watching: Exception | None = None) -> None:
        self.connection = Connection("https://pay.example.com", "ovnp_sbox_x")
        self.calls: list[str] = []
        self._release, self._watching = release, watching

    async def iterate_items(self, path: str) -> AsyncIterator[Any]:
        if path != "/drivers":
            return
        yield {"id": "drv_1", "ovnDriverId": "OVN-1", "name": "A", "status": "active", "kycStatus": "verified"}

    async def get_batch_by_key(self, key: str) -> None:
        return None

    async def quote_batch(self, body: Any) -> Any:
        return COSTS

    async def get_balance(self) -> Any:
        return {"available": 10_000}

    async def create_batch(self, body: Any, key: str) -> ApiResponse:
        self.calls.append("create")
        return ApiResponse({"id": "batch_1", "status": "queued", "scheduledFor": None}, is_replay=False, attempts=1)

    async def post_batch_action(self, batch_id: str, action: str) -> Any:
        self.calls.append(action)
        if self._release is not None:
            raise self._release

    async def get_batch(self, batch_id: str) -> Any:
        assert self._watching is not None
        raise self._watching


def run(api: Any, folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, Any, str]:
    """Pay a file of one row; return the exit code, the document, and stderr."""
    path = folder / "payday.csv"
    path.write_text("driver,amount\nOVN-1,100.00\n")
    options = PayOptions(path, None, None, None, None, False, False, True, True, False, None, None)
    with asyncio.Runner() as runner:
        code = PayCommand(options, api, Output(as_json=True)).run(runner)
    output = capsys.readouterr()
    return code, json.loads(output.out), output.err


def test_release_without_funds_names_the_shortfall_and_the_batch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    details = {"available": 4_000, "required": 10_000}
    api = FailingApi(release=ApiRejected(400, "INSUFFICIENT_FUNDS", "No", details, "r1", is_replay=False))
    code, document, stderr = run(api, tmp_path, capsys)
    assert (code, document["exitCode"], document["batchIds"]) == (ExitCode.FAILED, 1, ["batch_1"])
    assert document["error"]["code"] == "INSUFFICIENT_FUNDS"
    assert "$60.00 is missing: $100.00 is needed, $40.00 is available. It is submitted and waits as batch_1" in stderr


def test_release_without_response_is_unknown_and_safe_to_repeat(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, document, stderr = run(FailingApi(release=ApiUnreachable("no answer")), tmp_path, capsys)
    assert (code, document["error"]["code"]) == (ExitCode.UNKNOWN, "UNREACHABLE")
    assert "running the same command again is safe: it pays once" in stderr


def test_interruption_while_watching_says_that_payouts_continue(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api = FailingApi(watching=KeyboardInterrupt())  # type: ignore[arg-type]
    code, document, stderr = run(api, tmp_path, capsys)
    assert (code, api.calls) == (ExitCode.INTERRUPTED, ["create", "release"])
    assert document["error"]["code"] == "INTERRUPTED"
    assert "the payouts continue. To watch them again: ovnpay batches follow batch_1" in stderr


def terms(**given: Any) -> Any:
    """Return the payment terms of these options on a Tuesday."""
    blank = PayOptions(Path("payday.csv"), None, None, None, None, False, False, True, True, False, None, None)
    return payment_terms(blank._replace(**given), datetime(2026, 11, 24, 15, tzinfo=UTC))


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"at": "Friday 17:00", "hold": True}, "can't be combined"),
        ({"allow_duplicates": True}, "need each other"),
        ({"reason": "lost"}, "need each other"),
        ({"allow_duplicates": True, "reason": " "}, "1 to 500 characters"),
        ({"timezone": "UTC"}, "needs --at"),
        ({"name": "a\x1b[31m"}, "printable"),
        ({"name": "n" * 200}, "shorter"),
    ],
)
def test_contradictory_options_are_rejected(given: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        terms(**given)


def test_default_batch_name_is_file_name_and_date() -> None:
    assert terms().name == "payday 2026-11-24"
    assert terms(name="Week 48").name == "Week 48"
