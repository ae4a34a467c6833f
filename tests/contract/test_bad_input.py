"""Any bad input gets its documented 4xx in the envelope, quickly, and leaves the process unharmed.

The table of all cases with status and milliseconds is printed at the end.
"""

import json
import re
import threading
import urllib.request
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from tests.contract.bad_input import FAST, SLOW, Case
from tests.contract.shape import TIME
from tests.support.customer import Customer
from tests.support.http_client import call
from tests.support.polling import until
from tests.support.raw_http import RawAnswer, exchange
from tests.support.report_lines import report
from tests.support.stack import Stack

_LONGEST_ANSWER_BYTES = 16_384
_MEMORY_GROWTH_BYTES = 200_000_000


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    status: int
    code: str
    milliseconds: float
    problems: tuple[str, ...]


ROWS: list[Row] = []


@pytest.fixture(scope="module", autouse=True)
def table() -> Iterator[None]:
    """Report the response of every case at the end."""
    yield
    lines = [f"{'bad input':80} {'status':>6} {'ms':>7}  code"]
    for row in ROWS:
        mark = "  <-- " + "; ".join(row.problems)[:120] if row.problems else ""
        lines.append(f"{row.name[:80]:80} {row.status or '-':>6} {row.milliseconds:7.1f}  {row.code}{mark}")
    fast = sorted(row.milliseconds for row in ROWS if row.milliseconds < 3_000)
    median = fast[len(fast) // 2] if fast else 0
    wrong = sum(bool(row.problems) for row in ROWS)
    speed = f"median {median:.1f} ms, slowest of the fast {max(fast, default=0):.0f} ms"
    lines.append(f"{len(ROWS)} cases, {wrong} with a wrong response; {speed}")
    report(*lines)


@dataclass(frozen=True)
class State:
    """State that the requests must not change."""

    pid: int | None
    server_errors: float
    open_files: float
    memory_bytes: float
    holdings: Any


class Attack:
    """Sends the cases to the gateway; the slow ones run concurrently in the background."""

    def __init__(self, stack: Stack, customer: Customer, ids: dict[bytes, bytes]) -> None:
        self.stack = stack
        self.customer = customer
        self._names = re.compile(b"|".join(re.escape(name) for name in sorted(ids, key=len, reverse=True)))
        self._ids = ids
        self.before = self.state()
        self.slow: dict[str, Future[RawAnswer]] = {}

    def state(self) -> State:
        metrics = _metrics(self.stack)
        server_errors = sum(
            value for name, value in metrics.items() if re.match(r'ovnpay_http_requests_total\{.*status="5', name)
        )
        return State(
            self.stack.pid("gateway"),
            server_errors,
            metrics["process_open_fds"],
            metrics["process_resident_memory_bytes"],
            _holdings(self.customer),
        )

    def send(self, case: Case) -> RawAnswer:
        pieces = [self._fill(piece) for piece in case.pieces]
        if case.drip:
            pieces[-1:] = [pieces[-1][at : at + 1] for at in range(len(pieces[-1]))]
        return exchange(
            self.stack["gateway"],
            pieces,
            case.seconds,
            method=case.method,
            pause_seconds=case.pause_seconds,
            send_all=case.send_all,
            hang_up=case.hang_up,
            aftermath=case.ends_connection,
        )

    def _fill(self, piece: bytes) -> bytes:
        """Replace names by ids, and correct the Content-Length."""
        filled = self._names.sub(lambda name: self._ids[name[0]], piece)
        head, gap, body = filled.partition(b"\r\n\r\n")
        longer = len(body) - len(piece.partition(b"\r\n\r\n")[2])
        if longer:
            head = re.sub(rb"(?<=\r\nContent-Length: )\d+", lambda length: b"%d" % (int(length[0]) + longer), head)
        return head + gap + body


def _metrics(stack: Stack) -> dict[str, float]:
    with urllib.request.urlopen(stack["metrics"]["gateway"]) as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}


@pytest.fixture(scope="module")
def attack(stack: Stack, customer: Customer, driver_id: str) -> Iterator[Attack]:
    payout_id = customer.pay(driver_id, 1_000)["id"]
    customer.until_payout(payout_id, "completed")
    before: list[Any] = []

    def at_rest() -> bool:
        """Whether no payout is processing, and nothing has changed since the last call."""
        before.append(_holdings(customer))
        on_the_way = customer.get("/api/v1/payouts", status="processing", pageSize=1).data["total"]
        return on_the_way == 0 and before[-2:-1] == before[-1:]

    until(at_rest, "the wallet is at rest", pause_seconds=1)
    ids = {
        "$key": stack["sandbox_key"],
        "$session": _session(stack),
        "$driver": driver_id,
        "$driver_upper": driver_id.upper(),
        "$payout": payout_id,
        "$payout_upper": payout_id.upper(),
    }
    attack = Attack(stack, customer, {name.encode(): value.encode() for name, value in ids.items()})
    with ThreadPoolExecutor(len(SLOW)) as pool:
        attack.slow = {case.name: pool.submit(attack.send, case) for case in SLOW}
        yield attack


def _holdings(customer: Customer) -> Any:
    lists = [customer.get(path, pageSize=1).data["total"] for path in ("/api/v1/drivers", "/api/v1/payouts")]
    return lists, customer.balance()


def _session(stack: Stack) -> str:
    body = json.dumps(stack["owner"]).encode()
    answer = call(stack["gateway"], "POST", "/api/v1/auth/login", body, {"Content-Type": "application/json"})
    return str(answer.data["token"]) if answer.status == 200 else "no_session"


def problems(case: Case, answer: RawAnswer) -> Iterator[str]:
    """Yield the differences between a response and its documentation."""
    if answer.milliseconds > case.seconds * 1000:
        yield f"took {answer.milliseconds:.0f} ms"
    if answer.status not in case.statuses:
        yield f"status {answer.status}, not {sorted(case.statuses)}"
    if case.ends_connection and (answer.behind or not answer.closed):
        yield "the connection stays open"
    if not answer.status:
        return
    for name in case.headers:
        if name not in answer.headers:
            yield f"no header {name}"
    if len(answer.body) > _LONGEST_ANSWER_BYTES:
        yield f"an answer of {len(answer.body)} bytes"
    if case.method != "HEAD" and answer.status >= 400:
        yield from _body_problems(case, answer)


def _body_problems(case: Case, answer: RawAnswer) -> Iterator[str]:
    try:
        body = json.loads(answer.body)
        error, meta = body["error"], body["meta"]
        uuid.UUID(meta["requestId"])
        shaped = body.keys() == {"success", "error", "meta"} and body["success"] is False
        shaped = shaped and {"code", "message"} <= error.keys() <= {"code", "message", "details"}
        shaped = shaped and bool(TIME.match(meta["timestamp"])) and bool(error["message"])
        shaped = shaped and bool(re.fullmatch("[A-Z][A-Z0-9_]+", error["code"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        shaped = False
    if not shaped:
        yield f"no envelope: {answer.body[:60]!r}"
        return
    if not answer.headers.get("content-type", "").startswith("application/json"):
        yield f"Content-Type {answer.headers.get('content-type')}"
    if case.codes and error["code"] not in case.codes:
        yield f"code {error['code']}, not {sorted(case.codes)}: {error['message'][:60]}"
    if case.field and error["code"] == "VALIDATION_ERROR":
        named = str((error.get("details") or {}).get("field"))
        if case.field.lower() not in named.lower():
            yield f"details.field {named}, not {case.field}"


def _check(case: Case, answer: RawAnswer) -> None:
    found = tuple(problems(case, answer))
    try:
        code = str(json.loads(answer.body)["error"]["code"])
    except (ValueError, KeyError, TypeError):
        code = "closed" if answer.closed and not answer.status else ""
    ROWS.append(Row(case.name, answer.status, code, answer.milliseconds, found))
    if found:
        sent = b"".join(case.pieces)
        received = f"{answer.status} {answer.headers} {answer.body[:400]!r} {answer.behind[:400]!r}"
        pytest.fail(f"{'; '.join(found)}\nsent {len(sent)} bytes: {sent[:400]!r}\ngot {received}", pytrace=False)


def test_case_names_are_unique() -> None:
    names = [case.name for case in FAST + SLOW]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("case", FAST, ids=[case.name for case in FAST])
def test_bad_input_is_rejected(attack: Attack, case: Case) -> None:
    _check(case, attack.send(case))


@pytest.mark.parametrize("case", SLOW, ids=[case.name for case in SLOW])
def test_slow_body_times_out(attack: Attack, case: Case) -> None:
    """The slow cases run while the fast ones still get their responses in time."""
    _check(case, attack.slow[case.name].result())


def test_silent_connections_block_no_other(attack: Attack) -> None:
    """200 connections, some with half a header."""
    threads = [
        threading.Thread(
            target=exchange,
            args=(attack.stack["gateway"], [b"GET /health HTTP/1.1\r\nX-"[: number % 2 * 99], b""], 0.1),
        )
        for number in range(200)
    ]
    for thread in threads:
        thread.start()
    answer = exchange(attack.stack["gateway"], [b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"], 2)
    for thread in threads:
        thread.join()
    assert answer.status == 200
    assert answer.milliseconds < 2_000


def test_bad_input_changes_nothing(attack: Attack) -> None:
    assert attack.state().holdings == attack.before.holdings


def test_process_is_unharmed(attack: Attack, driver_id: str) -> None:
    """The same process, with its connections closed and little more memory, still works."""
    after = until(
        lambda: (now := attack.state()).open_files <= attack.before.open_files + 20 and now, "connections are closed"
    )
    assert after.pid == attack.before.pid
    assert after.memory_bytes < attack.before.memory_bytes + _MEMORY_GROWTH_BYTES
    assert call(attack.stack["gateway"], "GET", "/health").data["status"] == "healthy"
    payout = attack.customer.pay(driver_id, 1_000)
    attack.customer.until_payout(payout["id"], "completed")


def test_no_server_error_was_counted(attack: Attack) -> None:
    assert attack.state().server_errors == attack.before.server_errors


def test_every_exception_was_handled(attack: Attack) -> None:
    """No input reaches the server's last error handler."""
    lines = (attack.stack.home / "logs" / "gateway.log").read_bytes().splitlines()
    assert [line[-300:] for line in lines if b"Unhandled exception" in line] == []


def test_no_metric_label_comes_from_a_client(attack: Attack) -> None:
    """Or any client could fill the memory of the metrics store."""
    names = "\n".join(name for name in _metrics(attack.stack) if name.startswith("ovnpay_http"))
    for chosen in ("/drv_", "/pay_", "etc/passwd", "BREW", "%00", "xxx"):
        assert chosen not in names


def test_no_key_is_in_the_log(attack: Attack) -> None:
    """The log has no part of an unreadable request."""
    key = attack.stack["sandbox_key"].encode()
    lines = (attack.stack.home / "logs" / "gateway.log").read_bytes().splitlines()
    lines_with_key = [line.replace(key, b"<key>")[-300:] for line in lines if key in line]
    assert lines_with_key == []
