"""The intake of payouts: one transaction for all that arrive together, an answer of its own to each.

In that transaction: the idempotency keys are looked up under the wallet's lock, the payouts are accepted, the audit log
says who asked for them, and the answers are stored under their keys.

A wallet that somebody else holds, for as long as a batch of 10,000 takes perhaps, is not waited for here: its requests
go to a second lane, which waits, and the payouts of everybody else go on.
"""

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import OperationalError

from gateway.http.envelope import refusal_body, success_body
from gateway.intake.group_commit import DEFERRED, Deferred, GroupCommit
from shared import ledger
from shared.identity import audit
from shared.identity.audit import Actor
from shared.payouts.accept import finish_acceptance, start_acceptance
from shared.payouts.orders import (
    LockedState,
    OrderContext,
    PayoutOrder,
    locked_state_queries,
    order_context_queries,
)
from shared.payouts.rows import PayoutRow
from shared.platform import idempotency, logs, task_queue, tracing
from shared.platform.clock import Clock
from shared.platform.errors import DomainError
from shared.platform.failpoints import failpoint
from shared.platform.idempotency import IdempotencyKeyReused, StoredAnswer
from shared.platform.ids import PAYOUT, public_id
from shared.platform.pipelined_queries import run_queries
from shared.platform.settings import Settings
from shared.platform.task_queue import TaskSender
from shared.schema.audit import Action
from shared.schema.payouts import Rail

logger = structlog.get_logger(__name__)

LOCKED_WALLET_THREADS = 2
"""How many wallets that somebody else holds are waited for at the same time."""


PayoutOutcome = PayoutRow | DomainError


class PayoutRequest(NamedTuple):
    """One request of a client: for one payout, or for several in bulk."""

    wallet_id: uuid.UUID
    orders: Sequence[PayoutOrder]
    key: str | None
    """The client's Idempotency-Key."""
    fingerprint: bytes
    request_id: str
    shape: Callable[[Sequence[PayoutOutcome]], dict[str, Any]]
    """What the endpoint shows of the orders' outcomes; may raise one of them as the answer to the whole request."""
    actor: Actor
    traceparent: str | None = None
    """Of the trace that the request is part of, where there is one."""


def single_payout_payload(
    show: Callable[[PayoutRow], dict[str, Any]],
) -> Callable[[Sequence[PayoutOutcome]], dict[str, Any]]:
    """The shape of a request for one payout: the payout, or the refusal as the answer."""

    def shape(outcomes: Sequence[PayoutOutcome]) -> dict[str, Any]:
        [outcome] = outcomes
        if isinstance(outcome, DomainError):
            raise outcome
        return show(outcome)

    return shape


class IntakeResponse(NamedTuple):
    """What its client gets."""

    status: int
    body: bytes
    replayed: bool = False


ResponseOrDeferred = IntakeResponse | Literal[Deferred.LATER]


class PayoutIntake:
    """Accepts payouts by group commit."""

    def __init__(self, settings: Settings, engine: sa.Engine, task_sender: TaskSender, clock: Clock) -> None:
        self._engine = engine
        self._task_sender = task_sender
        self._clock = clock
        self._grace = timedelta(seconds=settings.wake_up_grace_seconds)
        lane = partial(
            GroupCommit[PayoutRequest, IntakeResponse],
            queue_size=settings.intake_queue_size,
            group_size=settings.intake_group_size,
            weigh=lambda request: len(request.orders),
            line=lambda request: request.wallet_id,
        )
        patient = lane("payouts_of_held_wallets", self._traced, at_once=LOCKED_WALLET_THREADS)
        self._group_commit = lane("payouts", partial(self._traced, skip_locked=True), behind=patient)

    async def submit(self, request: PayoutRequest) -> IntakeResponse:
        """Waits for the request's answer; raises as `GroupCommit.submit` does."""
        return await self._group_commit.submit(request._replace(traceparent=tracing.current_traceparent()))

    async def close(self) -> None:
        """Answers everybody who waits, then stops."""
        await self._group_commit.close()

    def _traced(self, requests: Sequence[PayoutRequest], *, skip_locked: bool = False) -> list[ResponseOrDeferred]:
        """Flushes within a span of the requests' traces, in which the doorbells are rung too."""
        parents = [request.traceparent for request in requests]
        with tracing.span("payouts.accept", parents=parents, requests=len(requests)):
            return self.flush(requests, skip_locked=skip_locked)

    def flush(self, requests: Sequence[PayoutRequest], *, skip_locked: bool = False) -> list[ResponseOrDeferred]:
        """Answers a group in one transaction; with `skip_locked`, those whose wallet somebody else holds later.

        A connection lost at any point, COMMIT included, is tried once more: the second transaction first takes
        the wallet's lock, which the first one, should it still be at work, holds; then it looks whether the
        first one's payouts are there. If they are, the answers already made are true.

        Raises:
            sqlalchemy.exc.OperationalError: the database is away; what became of the group is not known, and
                a repeat with the same key finds out.

        """
        made: list[ResponseOrDeferred] = []
        try:
            answers, accepted = self._transaction(requests, made, skip_locked=skip_locked)
        except OperationalError as error:
            logger.warning("intake.again", requests=len(requests), why=str(error.orig).strip())
            answers, accepted = self._transaction(requests, list(made), look=True)
        except idempotency.IdempotencyKeyInUse:
            answers, accepted = self._transaction(requests, made, skip_locked=skip_locked)  # finds the other answer now
        except Exception:
            if len(requests) == 1:
                raise
            logger.exception("intake.split", requests=len(requests))
            middle = len(requests) // 2
            return [*self._half(requests[:middle]), *self._half(requests[middle:])]
        failpoint("accept.after_commit")
        self._enqueue(accepted)
        failpoint("accept.after_enqueue")
        _tell(requests, accepted)
        return answers

    def _half(self, requests: Sequence[PayoutRequest]) -> list[ResponseOrDeferred]:
        """Half of a group that could not be flushed as a whole: nobody fails for a neighbour's sake."""
        try:
            return self.flush(requests)
        except OperationalError:
            raise
        except Exception:
            logger.exception("intake.failed", requests=len(requests))
            now = self._clock.now()
            failed = DomainError("An internal error; nothing was changed", code="INTERNAL_ERROR")
            return [IntakeResponse(500, refusal_body(failed, request.request_id, now)) for request in requests]

    def _transaction(
        self,
        requests: Sequence[PayoutRequest],
        made: list[ResponseOrDeferred],
        *,
        look: bool = False,
        skip_locked: bool = False,
    ) -> tuple[list[ResponseOrDeferred], list[PayoutRow]]:
        """One attempt at the group. `made` gets the answers before the commit; with `look`, it holds those of an
        attempt whose fate is not known.
        """
        now = self._clock.now()
        everything = [order for request in requests for order in request.orders]
        wallets = {request.wallet_id for request in requests}
        keys = {(request.wallet_id, request.key) for request in requests if request.key is not None}
        with self._engine.begin() as connection:
            price_list, payees, available, stored, *locked_state = run_queries(
                connection,
                *order_context_queries(everything),
                ledger.lock_wallets_query(wallets, skip_locked=skip_locked),
                idempotency.find_answers_query(keys, now) if keys else None,
                *locked_state_queries(everything),
            )
            if look and made and self._landed(connection, requests):
                return made, []
            stored = stored or {}
            fresh = [place for place in self._fresh(requests, stored) if requests[place].wallet_id in available]

            acceptance = start_acceptance(
                connection,
                [order for place in fresh for order in requests[place].orders],
                OrderContext(price_list, payees),
                LockedState.of(available, *locked_state),
                now,
                grace=self._grace,
            )
            following = iter(acceptance.outcomes)
            outcomes = {place: [next(following) for _ in requests[place].orders] for place in fresh}
            responses = {place: self._shaped(requests[place], outcomes[place], now) for place in fresh}
            new = [
                StoredAnswer(request.wallet_id, request.key, request.fingerprint, *responses[place][:2])
                for place in fresh
                if (request := requests[place]).key is not None
            ]
            entries = list(_entries((requests[place], outcomes[place]) for place in fresh))
            finish_acceptance(
                connection,
                acceptance,
                now,
                audit.record_entries_query(entries, now) if entries else None,
                idempotency.store_answers_query(new, now) if new else None,
            )
            stored.update({(one.wallet_id, one.key): one for one in new})
            made[:] = [
                DEFERRED
                if request.wallet_id not in available
                else responses.get(place) or self._repeated(request, stored, now)
                for place, request in enumerate(requests)
            ]
            failpoint("accept.before_commit")
        return made, [outcome for outcome in acceptance.outcomes if isinstance(outcome, PayoutRow)]

    @staticmethod
    def _landed(connection: sa.Connection, requests: Sequence[PayoutRequest]) -> bool:
        """Whether the payouts of an earlier attempt are there: all are, or none."""
        found = connection.scalar(
            sa.text("SELECT count(*) FROM payouts WHERE id = ANY(:ids)"),
            {"ids": [order.id for request in requests for order in request.orders]},
        )
        return bool(found)

    @staticmethod
    def _fresh(requests: Sequence[PayoutRequest], stored: dict[Any, StoredAnswer]) -> list[int]:
        """The places of the requests that are no repeats: of those in a group with one key, the first."""
        seen = set(stored)
        fresh = []
        for place, request in enumerate(requests):
            name = (request.wallet_id, request.key)
            if request.key is None or name not in seen:
                fresh.append(place)
                seen.add(name)
        return fresh

    @staticmethod
    def _repeated(request: PayoutRequest, stored: dict[Any, StoredAnswer], now: datetime) -> IntakeResponse:
        """The answer to a request whose key is taken: the first one's, if it is the same request."""
        assert request.key is not None
        first = stored[request.wallet_id, request.key]
        if first.fingerprint != request.fingerprint:
            refusal = IdempotencyKeyReused(request.key)
            return IntakeResponse(refusal.status, refusal_body(refusal, request.request_id, now))
        return IntakeResponse(first.http_status, first.answer, replayed=True)

    @staticmethod
    def _shaped(request: PayoutRequest, outcomes: Sequence[PayoutOutcome], now: datetime) -> IntakeResponse:
        try:
            return IntakeResponse(200, success_body(request.shape(outcomes), request.request_id, now))
        except DomainError as refusal:
            return IntakeResponse(refusal.status, refusal_body(refusal, request.request_id, now))

    def _enqueue(self, accepted: Sequence[PayoutRow]) -> None:
        instant = [row.submission_id for row in accepted if row.rail == Rail.INSTANT and row.submission_id]
        self._task_sender.enqueue(task_queue.SEND_INSTANT_SUBMISSIONS, instant)
        self._task_sender.enqueue(task_queue.QUEUE_PAYOUTS, [row.id for row in accepted if row.rail != Rail.INSTANT])


def _tell(requests: Sequence[PayoutRequest], accepted: Sequence[PayoutRow]) -> None:
    """One line for all: which request made which payouts."""
    if not accepted:
        return
    made = {row.id for row in accepted}
    ids = [(request.request_id, order.id) for request in requests for order in request.orders if order.id in made]
    shown: dict[str, list[str]] = {}
    for request_id, payout_id in ids[: logs.LOGGED_IDS_MAX]:
        shown.setdefault(request_id, []).append(public_id(PAYOUT, payout_id))
    if len(shown) == 1:
        [(request_id, payouts)] = shown.items()
        logger.info("payouts.accepted", request_id=request_id, payouts=payouts, count=len(accepted))
    else:
        logger.info("payouts.accepted", requests=shown, count=len(accepted))


def _entries(done: Iterable[tuple[PayoutRequest, Sequence[PayoutOutcome]]]) -> Iterator[audit.Entry]:
    """What the audit log says of requests that have made payouts: an entry for each, however many it has made."""
    for request, outcomes in done:
        actor = request.actor
        rows = [outcome for outcome in outcomes if isinstance(outcome, PayoutRow)]
        facts: dict[str, Any] = {
            "amount": sum(row.amount_cents for row in rows),
            **idempotency.audit_key_hash(request.key),
        }
        if len(outcomes) == 1 and rows:
            yield audit.Entry(actor, Action.PAYOUT_CREATE, public_id(PAYOUT, rows[0].id), after=facts)
        elif rows:
            facts |= {"count": len(rows), "ids": [public_id(PAYOUT, row.id) for row in rows]}
            yield audit.Entry(actor, Action.PAYOUT_CREATE, None, after=facts)
