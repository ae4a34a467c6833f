"""(s) The SQL of the group commit alone, on one connection: B3 without the cost of Python.

The real intake flushes groups of five bulk requests of 100 payouts; what is counted is the time within the database
driver: the statements, and the commit.
"""

import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from gateway.handlers.bulk import bulk_results_payload
from gateway.intake.payout_requests import PayoutOutcome, PayoutRequest
from gateway.intake.payouts import PayoutIntake
from shared.identity.audit import Actor
from shared.payouts.orders import PayoutOrder
from shared.payouts.rows import PayoutRow, payout_payload
from shared.platform import pipelined_queries
from shared.platform.clock import SystemClock
from shared.platform.errors import DomainError
from shared.platform.idempotency import request_fingerprint
from shared.platform.ids import new_id
from shared.platform.settings import Settings
from shared.platform.task_queue import Task
from shared.schema.audit import ActorKind
from shared.schema.payouts import Rail
from tests.benchmarks.bench import Bench
from tests.benchmarks.report import Yardstick
from tests.benchmarks.system import AMOUNT_CENTS
from tests.benchmarks.yardsticks.ground import Ground, ground

REQUESTS, PAYOUTS = 5, 100


class Flushed(NamedTuple):
    """The cost of a number of payouts."""

    payouts: int
    seconds: float
    sql_seconds: float
    """Seconds within the database driver."""


class _NoTaskSender:
    """Drops every message."""

    def enqueue(self, task: Task, ids: Sequence[uuid.UUID]) -> None:
        """Drop the message."""


def alone(bench: Bench) -> Yardstick:
    """Measure (s)."""
    with ground(bench.system()) as place:
        done = flushed(place, bench.size(100, 10), REQUESTS, PAYOUTS)
    whole = done.payouts / done.seconds
    bench.tell(f"(s): with the Python of one thread around it, {whole:,.0f} payouts/s: the most that one intake takes")
    return Yardstick("(s)", "our set-based SQL alone, groups of 500", done.payouts / done.sql_seconds, "/s")


def flushed(place: Ground, groups: int, requests: int, payouts: int) -> Flushed:
    """Flush groups of requests, after a warm-up."""
    settings = Settings(database_url=place.url, redis_url="")
    intake = PayoutIntake(settings, place.engine, _NoTaskSender(), SystemClock())  # type: ignore[arg-type]
    clocked = _clock_driver(place.engine.dialect)
    made = [[_request(place, payouts) for _ in range(requests)] for _ in range(groups + 3)]
    for group in made[:3]:
        intake.flush(group)
    clocked.clear()
    started = time.perf_counter()
    for group in made[3:]:
        answers = intake.flush(group)
        assert all(answer.status == 200 for answer in answers), answers  # type: ignore[union-attr]
    seconds = time.perf_counter() - started
    return Flushed(groups * requests * payouts, seconds, sum(clocked))


def _clock_driver(dialect: Any) -> list[float]:
    """Measure the duration of each call of the driver from now on."""
    taken: list[float] = []

    def clocked(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            started = time.perf_counter()
            try:
                return call(*arguments, **named)
            finally:
                taken.append(time.perf_counter() - started)

        return wrapped

    for name in ("do_execute", "do_execute_no_params", "do_commit"):
        setattr(dialect, name, clocked(getattr(dialect, name)))
    pipelined_queries.run_in_one_round_trip = clocked(pipelined_queries.run_in_one_round_trip)
    return taken


def _request(place: Ground, payouts: int) -> PayoutRequest:
    key = uuid.uuid4().hex
    actor = Actor(ActorKind.KEY, place.organization_id, place.wallet_id, None, new_id(), "127.0.0.1", uuid.uuid4())
    orders = [
        PayoutOrder(
            id=new_id(),
            wallet_id=place.wallet_id,
            driver_id=(driver_id := place.driver_ids[number % len(place.driver_ids)]),
            driver_reference=str(driver_id),
            amount_cents=AMOUNT_CENTS,
            rail=Rail.STANDARD,
            description=f"Payment for load L-{key}-{number}",
            load_id=f"L-{key}-{number}",
        )
        for number in range(payouts)
    ]
    marked = request_fingerprint("POST", "/api/v1/payouts/bulk", key.encode())
    return PayoutRequest(place.wallet_id, orders, key, marked, str(uuid.uuid4()), _shape, actor)


def _shape(outcomes: Sequence[PayoutOutcome]) -> dict[str, Any]:
    """Return the payouts as the bulk endpoint does."""
    items: list[tuple[dict[str, Any], DomainError | None]] = []
    for outcome in outcomes:
        assert isinstance(outcome, PayoutRow), outcome
        items.append((payout_payload(outcome), None))
    return bulk_results_payload(items)
