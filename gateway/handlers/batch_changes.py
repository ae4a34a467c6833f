"""Endpoints that change a batch: release, run, cancel, reschedule, retry what failed."""

import uuid
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from aiohttp import web

from gateway.app_state import SCENARIO, SERVICES
from gateway.handlers.batch_shapes import Batch, CanceledBatch, ReleasedBatch, RescheduleBatch, RetriedBatch
from gateway.handlers.batches import batch_id_from_path, parse_schedule_time
from gateway.handlers.bulk import bulk_results_payload
from gateway.handlers.requests import (
    request_actor,
    run_idempotently,
    run_idempotently_and_enqueue,
    wallet_id,
)
from gateway.openapi.operation import operation
from shared.batches.cancel import cancel_queued_batches
from shared.batches.release import release_queued_batches
from shared.batches.reschedule import set_batch_schedule
from shared.batches.retry import retry_failed_payouts
from shared.batches.rows import BatchRef
from shared.identity import audit
from shared.platform import task_queue
from shared.platform.clock import format_rfc3339
from shared.platform.errors import DomainError
from shared.platform.ids import BATCH, PAYOUT, public_id
from shared.schema.audit import Action
from shared.schema.batch_rows import batch_payload

REJECTED_SHOWN_MAX: Final = 100
"""How many of the payouts that could not be retried an answer lists."""

RELEASE_ERROR_CODES: Final = ("BATCH_NOT_FOUND", "BATCH_NOT_RELEASABLE", "INSUFFICIENT_FUNDS")


@operation(response=ReleasedBatch, error_codes=RELEASE_ERROR_CODES, idempotent=True)
async def release_batch(request: web.Request) -> web.Response:
    """Releases a batch: its money is reserved, all or nothing, and its payouts set out.

    Released before, it answers with its present state. Where the money does not reach, the batch is `failed`, nothing
    has moved, and it can be released again.
    """
    return await _release(request)


@operation(response=ReleasedBatch, error_codes=RELEASE_ERROR_CODES, idempotent=True)
async def run_batch(request: web.Request) -> web.Response:
    """Processes a scheduled batch now, whatever its time; otherwise as release."""
    return await _release(request)


async def _release(request: web.Request) -> web.Response:
    services, wallet, batch_id = request.app[SERVICES], wallet_id(request), batch_id_from_path(request)
    set_out: list[uuid.UUID] = []

    def work(connection: sa.Connection, now: datetime) -> dict[str, Any] | DomainError:
        asked = [BatchRef(batch_id, wallet)]
        done = release_queued_batches(
            connection,
            asked,
            now,
            by={wallet: request_actor(request)},
            grace=services.wake_up_grace,
            scenario=request[SCENARIO],
        )[batch_id]
        if isinstance(done, DomainError):
            return done
        set_out.extend(done.payout_ids)
        released_at = done.batch.released_at and format_rfc3339(done.batch.released_at)
        return {
            "id": public_id(BATCH, batch_id),
            "status": done.batch.status,
            "releasedAt": released_at,
            "processedAt": released_at,
        }

    async with services.large_change:
        return await run_idempotently_and_enqueue(request, work, task_queue.SUBMIT_PAYOUTS, set_out)


@operation(response=CanceledBatch, error_codes=("BATCH_NOT_FOUND", "BATCH_NOT_CANCELABLE"), idempotent=True)
async def cancel_batch(request: web.Request) -> web.Response:
    """Calls a batch off that is not released, and all of its payouts with it."""
    wallet, batch_id = wallet_id(request), batch_id_from_path(request)

    def work(connection: sa.Connection, now: datetime) -> dict[str, Any] | DomainError:
        done = cancel_queued_batches(connection, [BatchRef(batch_id, wallet)], now)[batch_id]
        if isinstance(done, DomainError):
            return done
        _note(request, connection, Action.BATCH_CANCEL, batch_id, {"status": done.status}, now)
        canceled_at = done.canceled_at and format_rfc3339(done.canceled_at)
        return {"id": public_id(BATCH, batch_id), "status": done.status, "canceledAt": canceled_at}

    async with request.app[SERVICES].large_change:
        return await run_idempotently(request, work)


def _note(
    request: web.Request,
    connection: sa.Connection,
    action: Action,
    batch_id: uuid.UUID,
    after: dict[str, Any],
    now: datetime,
) -> None:
    audit.record_entries(
        connection, [audit.Entry(request_actor(request), action, public_id(BATCH, batch_id), after=after)], now
    )


@operation(
    body=RescheduleBatch,
    response=Batch,
    error_codes=("BATCH_NOT_FOUND", "BATCH_NOT_RESCHEDULABLE"),
    idempotent=True,
)
async def reschedule_batch(request: web.Request, body: RescheduleBatch) -> web.Response:
    """Gives a batch that is not released another time, or none.

    One that could not be released for lack of money waits again.
    """
    wallet, batch_id = wallet_id(request), batch_id_from_path(request)
    asked = (
        None if body.scheduledFor is None else parse_schedule_time(body.scheduledFor, request.app[SERVICES].clock.now())
    )

    def work(connection: sa.Connection, now: datetime) -> dict[str, Any] | DomainError:
        done = set_batch_schedule(connection, wallet, batch_id, asked)
        if isinstance(done, DomainError):
            return done
        shown = batch_payload(done)
        facts = {"scheduledFor": shown["scheduledFor"], "status": done.status}
        _note(request, connection, Action.BATCH_RESCHEDULE, batch_id, facts, now)
        return shown

    return await run_idempotently(request, work)


@operation(response=RetriedBatch, error_codes=("BATCH_NOT_FOUND",), idempotent=True)
async def retry_failed_batch_payouts(request: web.Request) -> web.Response:
    """Queues a batch's failed payouts again, those that can be paid and are covered.

    `bulk_results_payload` has the first 100 that could not be, each with its reason.
    """
    services, wallet, batch_id = request.app[SERVICES], wallet_id(request), batch_id_from_path(request)
    queued: list[uuid.UUID] = []

    def work(connection: sa.Connection, now: datetime) -> dict[str, Any] | DomainError:
        done = retry_failed_payouts(
            connection, wallet, batch_id, now, grace=services.wake_up_grace, scenario=request[SCENARIO]
        )
        if isinstance(done, DomainError):
            return done
        refused = [
            ({"id": public_id(PAYOUT, payout_id), "status": "failed"}, outcome)
            for payout_id, outcome in done.answers.items()
            if isinstance(outcome, DomainError)
        ]
        facts = {"retried": len(done.answers) - len(refused), "refused": len(refused)}
        _note(request, connection, Action.BATCH_RETRY, batch_id, facts, now)
        queued.extend(one for one, outcome in done.answers.items() if not isinstance(outcome, DomainError))
        return {
            "id": public_id(BATCH, batch_id),
            "status": done.batch.status,
            "retried": len(queued),
            "refused": len(refused),
            "results": bulk_results_payload(refused[:REJECTED_SHOWN_MAX])["results"],
        }

    async with services.large_change:
        return await run_idempotently_and_enqueue(request, work, task_queue.SUBMIT_PAYOUTS, queued)
