"""Handlers that change a batch: release, run, cancel, reschedule, retry its failed payouts."""

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
"""Rejected payouts listed in the response to a retry."""

RELEASE_ERROR_CODES: Final = ("BATCH_NOT_FOUND", "BATCH_NOT_RELEASABLE", "INSUFFICIENT_FUNDS")


@operation(response=ReleasedBatch, error_codes=RELEASE_ERROR_CODES, idempotent=True)
async def release_batch(request: web.Request) -> web.Response:
    """Release a batch: reserve its money, all or nothing, and queue its payouts.

    A batch that is already released is returned as it is. If the balance is too low, the batch is `failed`, no money
    has moved, and it can be released again.
    """
    return await _release(request)


@operation(response=ReleasedBatch, error_codes=RELEASE_ERROR_CODES, idempotent=True)
async def run_batch(request: web.Request) -> web.Response:
    """Release a scheduled batch now, before its time."""
    return await _release(request)


async def _release(request: web.Request) -> web.Response:
    services, wallet, batch_id = request.app[SERVICES], wallet_id(request), batch_id_from_path(request)
    payout_ids: list[uuid.UUID] = []

    def work(connection: sa.Connection, now: datetime) -> dict[str, Any] | DomainError:
        refs = [BatchRef(batch_id, wallet)]
        done = release_queued_batches(
            connection,
            refs,
            now,
            by={wallet: request_actor(request)},
            grace=services.wake_up_grace,
            scenario=request[SCENARIO],
        )[batch_id]
        if isinstance(done, DomainError):
            return done
        payout_ids.extend(done.payout_ids)
        released_at = done.batch.released_at and format_rfc3339(done.batch.released_at)
        return {
            "id": public_id(BATCH, batch_id),
            "status": done.batch.status,
            "releasedAt": released_at,
            "processedAt": released_at,
        }

    async with services.large_change:
        return await run_idempotently_and_enqueue(request, work, task_queue.SUBMIT_PAYOUTS, payout_ids)


@operation(response=CanceledBatch, error_codes=("BATCH_NOT_FOUND", "BATCH_NOT_CANCELABLE"), idempotent=True)
async def cancel_batch(request: web.Request) -> web.Response:
    """Cancel a batch that is not released, with all of its payouts."""
    wallet, batch_id = wallet_id(request), batch_id_from_path(request)

    def work(connection: sa.Connection, now: datetime) -> dict[str, Any] | DomainError:
        done = cancel_queued_batches(connection, [BatchRef(batch_id, wallet)], now)[batch_id]
        if isinstance(done, DomainError):
            return done
        _record(request, connection, Action.BATCH_CANCEL, batch_id, {"status": done.status}, now)
        canceled_at = done.canceled_at and format_rfc3339(done.canceled_at)
        return {"id": public_id(BATCH, batch_id), "status": done.status, "canceledAt": canceled_at}

    async with request.app[SERVICES].large_change:
        return await run_idempotently(request, work)


def _record(
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
    """Change or remove the release time of a batch that is not released.

    A batch that failed for lack of money waits again.
    """
    wallet, batch_id = wallet_id(request), batch_id_from_path(request)
    now = request.app[SERVICES].clock.now()
    scheduled_for = None if body.scheduledFor is None else parse_schedule_time(body.scheduledFor, now)

    def work(connection: sa.Connection, now: datetime) -> dict[str, Any] | DomainError:
        done = set_batch_schedule(connection, wallet, batch_id, scheduled_for)
        if isinstance(done, DomainError):
            return done
        payload = batch_payload(done)
        after = {"scheduledFor": payload["scheduledFor"], "status": done.status}
        _record(request, connection, Action.BATCH_RESCHEDULE, batch_id, after, now)
        return payload

    return await run_idempotently(request, work)


@operation(response=RetriedBatch, error_codes=("BATCH_NOT_FOUND",), idempotent=True)
async def retry_failed_batch_payouts(request: web.Request) -> web.Response:
    """Retry a batch's failed payouts, as far as the balance allows.

    `results` lists the first 100 rejected payouts, each with its reason.
    """
    services, wallet, batch_id = request.app[SERVICES], wallet_id(request), batch_id_from_path(request)
    queued: list[uuid.UUID] = []

    def work(connection: sa.Connection, now: datetime) -> dict[str, Any] | DomainError:
        done = retry_failed_payouts(
            connection, wallet, batch_id, now, grace=services.wake_up_grace, scenario=request[SCENARIO]
        )
        if isinstance(done, DomainError):
            return done
        rejected = [
            ({"id": public_id(PAYOUT, payout_id), "status": "failed"}, outcome)
            for payout_id, outcome in done.answers.items()
            if isinstance(outcome, DomainError)
        ]
        after = {"retried": len(done.answers) - len(rejected), "refused": len(rejected)}
        _record(request, connection, Action.BATCH_RETRY, batch_id, after, now)
        queued.extend(one for one, outcome in done.answers.items() if not isinstance(outcome, DomainError))
        return {
            "id": public_id(BATCH, batch_id),
            "status": done.batch.status,
            "retried": len(queued),
            "refused": len(rejected),
            "results": bulk_results_payload(rejected[:REJECTED_SHOWN_MAX])["results"],
        }

    async with services.large_change:
        return await run_idempotently_and_enqueue(request, work, task_queue.SUBMIT_PAYOUTS, queued)
