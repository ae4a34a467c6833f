"""Handlers of bulk operations: up to 100 items per request, each with its own result, in the order of the request.

An invalid item does not affect the others; only an invalid list is rejected as a whole.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from aiohttp import web

from gateway.app_state import REQUEST_ID, SCENARIO, SERVICES
from gateway.handlers.bulk_shapes import BulkDrivers, BulkIds, BulkPayout, BulkPayouts, BulkResults
from gateway.handlers.driver_shapes import RegisterDriver
from gateway.handlers.drivers import registration_entries
from gateway.handlers.payout_shapes import PayoutFields, Urgency
from gateway.handlers.payouts import build_payout_order, record_status_changes
from gateway.handlers.requests import (
    idempotency_key,
    request_actor,
    run_idempotently,
    run_idempotently_and_enqueue,
    stored_response,
    wallet_id,
)
from gateway.http.decoding import convert_to_shape
from gateway.http.envelope import ApiError
from gateway.intake.payout_requests import PayoutOutcome, PayoutRequest
from gateway.openapi.operation import operation
from shared.drivers.register import NewDriver, register_drivers
from shared.identity import audit
from shared.payouts.cancel import cancel_wallet_payouts
from shared.payouts.orders import PayoutOrder
from shared.payouts.retry import retry_wallet_payouts
from shared.payouts.rows import PayoutRow, duplicate_warning
from shared.platform import idempotency, task_queue
from shared.platform.errors import DomainError, InvalidRequest, NotFound
from shared.platform.ids import DRIVER, PAYOUT, echo_id, parse_id, public_id
from shared.schema.audit import Action

Shape = TypeVar("Shape")


def bulk_results_payload(items: Sequence[tuple[dict[str, Any], DomainError | None]]) -> dict[str, Any]:
    """Format results, as the API reference shows them under Bulk Operations."""
    results = []
    for index, (item, error) in enumerate(items):
        result: dict[str, Any] = {"index": index, "item": item, "status": "success"}
        if error is not None:
            result |= {"status": "error", "error": error.message, "code": error.code}
            if error.details:
                result["details"] = error.details
        results.append(result)
    failed = sum(error is not None for _, error in items)
    return {"succeeded": len(items) - failed, "failed": failed, "total": len(items), "results": results}


def convert_item(content: Any, shape: type[Shape]) -> Shape | InvalidRequest:
    try:
        return convert_to_shape(content, shape)
    except ApiError as error:
        return InvalidRequest(error.message, **error.details)


def identifying_fields(content: Any, *names: str) -> dict[str, Any]:
    """The fields of a rejected item that identify it in its result."""
    known = content if isinstance(content, dict) else {}
    return {name: known[name] for name in names if isinstance(known.get(name), str | int)}


@operation(body=BulkDrivers, response=BulkResults, idempotent=True)
async def bulk_register_drivers(request: web.Request, body: BulkDrivers) -> web.Response:
    """Register up to 100 drivers, each with its own result."""
    services, wallet = request.app[SERVICES], wallet_id(request)
    items = [convert_item(content, RegisterDriver) for content in body.drivers]
    new_drivers = [
        NewDriver(item.ovnDriverId, item.name, item.email, item.phone)
        for item in items
        if isinstance(item, RegisterDriver)
    ]
    actor, added = request_actor(request), list[uuid.UUID]()

    def work(connection: Any, now: Any) -> dict[str, Any]:
        outcomes = register_drivers(connection, wallet, new_drivers, now, grace=services.wake_up_grace)
        audit.record_entries(connection, registration_entries(actor, outcomes), now)
        registered = iter(outcomes)
        results: list[tuple[dict[str, Any], DomainError | None]] = []
        for content, item in zip(body.drivers, items, strict=True):
            outcome = item if isinstance(item, InvalidRequest) else next(registered)
            if isinstance(outcome, DomainError):
                results.append((identifying_fields(content, "ovnDriverId", "name"), outcome))
                continue
            added.append(outcome.id)
            row = {"id": public_id(DRIVER, outcome.id), "ovnDriverId": outcome.ovn_driver_id, "name": outcome.name}
            results.append((row | {"status": outcome.status, "kycStatus": outcome.kyc_status}, None))
        return bulk_results_payload(results)

    return await run_idempotently_and_enqueue(request, work, task_queue.REGISTER_DRIVERS, added)


@operation(body=BulkPayouts, response=BulkResults, idempotent=True)
async def bulk_create_payouts(request: web.Request, body: BulkPayouts) -> web.Response:
    """Create up to 100 payouts, each with its own result.

    The balance is used in the order of the request.
    """
    items = [convert_item(content, BulkPayout) for content in body.payouts]
    orders = [
        item if isinstance(item, InvalidRequest) else convert_to_order(request, item, body.urgency) for item in items
    ]

    def format_outcomes(outcomes: Sequence[PayoutOutcome]) -> dict[str, Any]:
        remaining = iter(outcomes)
        results: list[tuple[dict[str, Any], DomainError | None]] = []
        for content, order in zip(body.payouts, orders, strict=True):
            outcome = order if isinstance(order, InvalidRequest) else next(remaining)
            if isinstance(outcome, DomainError):
                results.append((identifying_fields(content, "driverId", "amount", "loadId"), outcome))
            else:
                results.append((payout_summary_payload(outcome), None))
        return bulk_results_payload(results)

    payout_request = PayoutRequest(
        wallet_id=wallet_id(request),
        orders=[order for order in orders if isinstance(order, PayoutOrder)],
        key=idempotency_key(request),
        fingerprint=idempotency.request_fingerprint(request.method, request.path, await request.read()),
        request_id=request[REQUEST_ID],
        shape=format_outcomes,
        actor=request_actor(request),
    )
    result = await request.app[SERVICES].payout_intake.submit(payout_request)
    return stored_response(result.status, result.body, replayed=result.replayed)


def convert_to_order(request: web.Request, item: PayoutFields, urgency: Urgency) -> PayoutOrder | InvalidRequest:
    try:
        return build_payout_order(request, item, urgency)
    except ApiError as error:
        return InvalidRequest(error.message, **error.details)


def payout_summary_payload(row: PayoutRow) -> dict[str, Any]:
    warnings = {} if row.duplicate_of is None else {"warnings": [duplicate_warning(row.duplicate_of)]}
    return warnings | {
        "id": public_id(PAYOUT, row.id),
        "driverId": public_id(DRIVER, row.driver_id),
        "loadId": row.load_id,
        "amount": row.amount_cents,
        "fee": row.fee_cents,
        "netAmount": row.net_cents,
        "status": row.status,
    }


@operation(body=BulkIds, response=BulkResults, idempotent=True)
async def bulk_cancel_payouts(request: web.Request, body: BulkIds) -> web.Response:
    """Cancel up to 100 payouts that are not submitted yet, each with its own result."""
    wallet, actor = wallet_id(request), request_actor(request)

    def work(connection: Any, now: Any) -> dict[str, Any]:
        def act(ids: Sequence[uuid.UUID]) -> Mapping[uuid.UUID, PayoutOutcome]:
            outcomes = cancel_wallet_payouts(connection, wallet, ids, now)
            record_status_changes(connection, actor, Action.PAYOUT_CANCEL, outcomes.values(), now)
            return outcomes

        return results_by_id(body.payoutIds, act)

    return await run_idempotently(request, work)


@operation(body=BulkIds, response=BulkResults, idempotent=True)
async def bulk_retry_payouts(request: web.Request, body: BulkIds) -> web.Response:
    """Queue up to 100 failed payouts for another attempt, each with its own result."""
    services, wallet, actor = request.app[SERVICES], wallet_id(request), request_actor(request)
    queued: list[uuid.UUID] = []

    def work(connection: Any, now: Any) -> dict[str, Any]:
        def act(ids: Sequence[uuid.UUID]) -> Mapping[uuid.UUID, PayoutOutcome]:
            outcomes = retry_wallet_payouts(
                connection, wallet, ids, now, grace=services.wake_up_grace, scenario=request[SCENARIO]
            )
            record_status_changes(connection, actor, Action.PAYOUT_RETRY, outcomes.values(), now)
            queued.extend(payout_id for payout_id, outcome in outcomes.items() if isinstance(outcome, PayoutRow))
            return outcomes

        return results_by_id(body.payoutIds, act)

    return await run_idempotently_and_enqueue(request, work, task_queue.SUBMIT_PAYOUTS, queued)


def results_by_id(
    texts: Sequence[str], act: Callable[[Sequence[uuid.UUID]], Mapping[uuid.UUID, PayoutOutcome]]
) -> dict[str, Any]:
    """Act on payouts by their ids, and format the results; a repeated id gets its result twice."""
    ids = [parse_id(PAYOUT, text) for text in texts]
    outcomes = act(list(dict.fromkeys(payout_id for payout_id in ids if payout_id is not None)))
    results: list[tuple[dict[str, Any], DomainError | None]] = []
    for text, payout_id in zip(texts, ids, strict=True):
        outcome = (
            outcomes[payout_id]
            if payout_id
            else NotFound(f"No payout {echo_id(PAYOUT, text)}", code="PAYOUT_NOT_FOUND")
        )
        if isinstance(outcome, DomainError):
            status = outcome.details.get("status")
            results.append(({"id": text, **({"status": status} if status else {})}, outcome))
        else:
            results.append(({"id": text, "status": outcome.status}, None))
    return bulk_results_payload(results)
