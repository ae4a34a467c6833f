"""Intake of payouts: one transaction for all requests that arrive together, and a response to each.

The transaction locks the wallets, looks up the idempotency keys, accepts the payouts, and writes the audit entries and
the responses under their keys.

The group does not wait for a wallet that another transaction has locked, for example to release a large batch: its
requests are deferred to other threads, which wait.
"""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Final

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import OperationalError

from gateway.http.envelope import domain_error_body
from gateway.intake.group_commit import DEFERRED, GroupCommit
from gateway.intake.payout_requests import (
    IntakeResponse,
    PayoutRequest,
    ResponseOrDeferred,
    audit_entries,
    find_new_requests,
    log_accepted,
    replay,
    respond,
)
from shared import ledger
from shared.identity import audit
from shared.payouts.accept import finish_acceptance, start_acceptance
from shared.payouts.orders import (
    LockedState,
    OrderContext,
    PayoutOrder,
    locked_state_queries,
    order_context_queries,
)
from shared.payouts.rows import PayoutRow
from shared.platform import idempotency, task_queue, tracing
from shared.platform.clock import Clock
from shared.platform.errors import DomainError
from shared.platform.failpoints import failpoint
from shared.platform.idempotency import StoredAnswer
from shared.platform.pipelined_queries import run_queries
from shared.platform.settings import Settings
from shared.platform.task_queue import TaskSender
from shared.schema.payouts import Rail

logger = structlog.get_logger(__name__)

LOCKED_WALLET_THREADS = 2
"""Threads that wait for locked wallets, one wallet each."""

_COUNT_PAYOUTS: Final = sa.text("SELECT count(*) FROM payouts WHERE id = ANY(:ids)")
"""Counts which payouts of an earlier attempt were committed; locks nothing."""


class PayoutIntake:
    def __init__(self, settings: Settings, engine: sa.Engine, task_sender: TaskSender, clock: Clock) -> None:
        self._engine = engine
        self._task_sender = task_sender
        self._clock = clock
        self._grace = timedelta(seconds=settings.wake_up_grace_seconds)
        group_commit = partial(
            GroupCommit[PayoutRequest, IntakeResponse],
            queue_size=settings.intake_queue_size,
            group_size=settings.intake_group_size,
            weight=lambda request: len(request.orders),
            queue_key=lambda request: request.wallet_id,
        )
        waiting = group_commit("payouts_of_locked_wallets", self._flush_traced, threads=LOCKED_WALLET_THREADS)
        self._group_commit = group_commit("payouts", partial(self._flush_traced, skip_locked=True), deferred_to=waiting)

    async def submit(self, request: PayoutRequest) -> IntakeResponse:
        """Wait for the request's response; raise as `GroupCommit.submit` does."""
        return await self._group_commit.submit(request._replace(traceparent=tracing.current_traceparent()))

    async def close(self) -> None:
        await self._group_commit.close()

    def _flush_traced(
        self, requests: Sequence[PayoutRequest], *, skip_locked: bool = False
    ) -> list[ResponseOrDeferred]:
        parents = [request.traceparent for request in requests]
        with tracing.span("payouts.accept", parents=parents, requests=len(requests)):
            return self.flush(requests, skip_locked=skip_locked)

    def flush(self, requests: Sequence[PayoutRequest], *, skip_locked: bool = False) -> list[ResponseOrDeferred]:
        """Respond to a group in one transaction; with `skip_locked`, defer requests whose wallet is locked.

        After a lost connection, also during COMMIT, the group is tried once more. The second transaction waits for the
        wallets' locks, and so for the first one; if the first one was committed, its responses are valid.

        Raises:
            sqlalchemy.exc.OperationalError: the database is unavailable. The group's outcome is unknown; a repeat with
                the same key returns it.

        """
        prepared: list[ResponseOrDeferred] = []
        try:
            responses, accepted = self._transaction(requests, prepared, skip_locked=skip_locked)
        except OperationalError as error:
            logger.warning("intake.again", requests=len(requests), why=str(error.orig).strip())
            responses, accepted = self._transaction(requests, list(prepared), is_second=True)
        except idempotency.IdempotencyKeyInUse:
            # Another request stored its response after the look-up: now it is found.
            responses, accepted = self._transaction(requests, prepared, skip_locked=skip_locked)
        except Exception:
            if len(requests) == 1:
                raise
            logger.exception("intake.split", requests=len(requests))
            middle = len(requests) // 2
            return [*self._flush_half(requests[:middle]), *self._flush_half(requests[middle:])]
        failpoint("accept.after_commit")
        self._enqueue(accepted)
        failpoint("accept.after_enqueue")
        log_accepted(requests, accepted)
        return responses

    def _flush_half(self, requests: Sequence[PayoutRequest]) -> list[ResponseOrDeferred]:
        """Flush half of a failed group: an invalid request must not fail the others."""
        try:
            return self.flush(requests)
        except OperationalError:
            raise
        except Exception:
            logger.exception("intake.failed", requests=len(requests))
            now = self._clock.now()
            failed = DomainError("An internal error; nothing was changed", code="INTERNAL_ERROR")
            return [IntakeResponse(500, domain_error_body(failed, request.request_id, now)) for request in requests]

    def _transaction(
        self,
        requests: Sequence[PayoutRequest],
        prepared: list[ResponseOrDeferred],
        *,
        is_second: bool = False,
        skip_locked: bool = False,
    ) -> tuple[list[ResponseOrDeferred], list[PayoutRow]]:
        """Try a group once. `prepared` gets the responses before the commit; a second attempt reads the first's."""
        now = self._clock.now()
        all_orders = [order for request in requests for order in request.orders]
        wallets = {request.wallet_id for request in requests}
        keys = {(request.wallet_id, request.key) for request in requests if request.key is not None}
        with self._engine.begin() as connection:
            price_list, payees, available, stored, *locked_state = run_queries(
                connection,
                *order_context_queries(all_orders),
                ledger.lock_wallets_query(wallets, skip_locked=skip_locked),
                idempotency.find_answers_query(keys, now) if keys else None,
                *locked_state_queries(all_orders),
            )
            if is_second and prepared and self._is_committed(connection, all_orders):
                return prepared, []
            stored = stored or {}
            new = [index for index in find_new_requests(requests, stored) if requests[index].wallet_id in available]
            acceptance = start_acceptance(
                connection,
                [order for index in new for order in requests[index].orders],
                OrderContext(price_list, payees),
                LockedState.of(available, *locked_state),
                now,
                grace=self._grace,
            )
            remaining = iter(acceptance.outcomes)
            outcomes = {index: [next(remaining) for _ in requests[index].orders] for index in new}
            responses = {index: respond(requests[index], outcomes[index], now) for index in new}
            answers = [
                StoredAnswer(request.wallet_id, request.key, request.fingerprint, *responses[index][:2])
                for index in new
                if (request := requests[index]).key is not None
            ]
            entries = list(audit_entries((requests[index], outcomes[index]) for index in new))
            finish_acceptance(
                connection,
                acceptance,
                now,
                audit.record_entries_query(entries, now) if entries else None,
                idempotency.store_answers_query(answers, now) if answers else None,
            )
            stored.update({(one.wallet_id, one.key): one for one in answers})
            prepared[:] = [
                DEFERRED if request.wallet_id not in available else responses.get(index) or replay(request, stored, now)
                for index, request in enumerate(requests)
            ]
            failpoint("accept.before_commit")
        return prepared, [outcome for outcome in acceptance.outcomes if isinstance(outcome, PayoutRow)]

    @staticmethod
    def _is_committed(connection: sa.Connection, orders: Sequence[PayoutOrder]) -> bool:
        """Whether an earlier attempt was committed: all of its payouts exist, or none."""
        return bool(connection.scalar(_COUNT_PAYOUTS, {"ids": [order.id for order in orders]}))

    def _enqueue(self, accepted: Sequence[PayoutRow]) -> None:
        instant = [row.submission_id for row in accepted if row.rail == Rail.INSTANT and row.submission_id]
        self._task_sender.enqueue(task_queue.SEND_INSTANT_SUBMISSIONS, instant)
        self._task_sender.enqueue(task_queue.QUEUE_PAYOUTS, [row.id for row in accepted if row.rail != Rail.INSTANT])
