"""One run of `ovnpay pay` against an API that changes its mind between the plan and the release."""

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


class Moody:
    """An API with one driver and $100: enough for the plan."""

    def __init__(self, *, release: Exception | None = None, watching: Exception | None = None) -> None:
        self.connection = Connection("https://pay.example.com", "ovnp_sbox_x")
        self.done: list[str] = []
        self._release, self._watching = release, watching

    async def each(self, path: str) -> AsyncIterator[Any]:
        if path != "/drivers":
            return
        yield {"id": "drv_1", "ovnDriverId": "OVN-1", "name": "A", "status": "active", "kycStatus": "verified"}

    async def batch_made_by(self, key: str) -> None:
        return None

    async def quote(self, body: Any) -> Any:
        return COSTS

    async def balance(self) -> Any:
        return {"available": 10_000}

    async def create(self, body: Any, key: str) -> ApiResponse:
        self.done.append("create")
        return ApiResponse({"id": "batch_1", "status": "queued", "scheduledFor": None}, replayed=False, tries=1)

    async def of_batch(self, batch_id: str, verb: str) -> Any:
        self.done.append(verb)
        if self._release is not None:
            raise self._release

    async def batch(self, batch_id: str) -> Any:
        assert self._watching is not None
        raise self._watching


def run(api: Any, folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, Any, str]:
    """The exit code, the document, and what was said."""
    path = folder / "payday.csv"
    path.write_text("driver,amount\nOVN-1,100.00\n")
    options = PayOptions(path, None, None, None, None, False, False, True, True, False, None, None)
    with asyncio.Runner() as runner:
        code = PayCommand(options, api, Output(as_json=True)).run(runner)
    said = capsys.readouterr()
    return code, json.loads(said.out), said.err


def test_a_release_that_finds_less_money_says_what_is_missing_and_what_waits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    details = {"available": 4_000, "required": 10_000}
    api = Moody(release=ApiRejected(400, "INSUFFICIENT_FUNDS", "No", details, "r1", replayed=False))
    code, document, said = run(api, tmp_path, capsys)
    assert (code, document["exitCode"], document["batchIds"]) == (ExitCode.FAILED, 1, ["batch_1"])
    assert document["error"]["code"] == "INSUFFICIENT_FUNDS"
    assert "$60.00 is missing: $100.00 is needed, $40.00 is available. It is handed in and waits as batch_1" in said


def test_a_release_whose_answer_never_comes_is_unknown_and_safe_to_repeat(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, document, said = run(Moody(release=ApiUnreachable("no answer")), tmp_path, capsys)
    assert (code, document["error"]["code"]) == (ExitCode.UNKNOWN, "UNREACHABLE")
    assert "running the same command again is safe: it pays once" in said


def test_an_interruption_while_watching_says_that_the_payouts_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api = Moody(watching=KeyboardInterrupt())  # type: ignore[arg-type]
    code, document, said = run(api, tmp_path, capsys)
    assert (code, api.done) == (ExitCode.INTERRUPTED, ["create", "release"])
    assert document["error"]["code"] == "INTERRUPTED"
    assert "the payouts go on without us. To watch them again: ovnpay batches follow batch_1" in said


def wish(**given: Any) -> Any:
    """What these options ask for on a Tuesday."""
    blank = PayOptions(Path("payday.csv"), None, None, None, None, False, False, True, True, False, None, None)
    return payment_terms(blank._replace(**given), datetime(2026, 11, 24, 15, tzinfo=UTC))


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"at": "Friday 17:00", "hold": True}, "give one of them"),
        ({"allow_duplicates": True}, "needs --reason"),
        ({"reason": "lost"}, "is for it alone"),
        ({"allow_duplicates": True, "reason": " "}, "must say something"),
        ({"timezone": "UTC"}, "is for --at"),
        ({"name": "a\x1b[31m"}, "printable"),
        ({"name": "n" * 200}, "shorter"),
    ],
)
def test_options_that_contradict_each_other_are_refused(given: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        wish(**given)


def test_a_batch_is_named_for_the_file_and_the_day_where_no_name_is_given() -> None:
    assert wish().name == "payday 2026-11-24"
    assert wish(name="Week 48").name == "Week 48"
