"""Handlers of the sandbox: reset, seed, state. They reject production keys."""

import asyncio
import uuid
from datetime import datetime
from functools import partial
from typing import Annotated, Any, TypedDict

import sqlalchemy as sa
from aiohttp import web
from msgspec import Meta

from gateway.app_state import CREDENTIAL, SERVICES
from gateway.handlers.common_shapes import Count, Message
from gateway.handlers.driver_shapes import Driver
from gateway.handlers.payout_shapes import Payout
from gateway.handlers.requests import flat_response, request_actor, success_response, wallet_id
from gateway.http.credential_cache import CREDENTIAL_CACHE_SECONDS
from gateway.http.envelope import ApiError
from gateway.openapi.operation import operation
from shared import ledger
from shared.batches.cancel import cancel_queued_batches, load_unreleased_batches
from shared.drivers.queries import load_driver_page
from shared.drivers.rows import driver_payload
from shared.identity import audit
from shared.payouts import queries
from shared.payouts.rows import PayoutRow, payout_payload
from shared.platform import task_queue
from shared.platform.errors import Forbidden
from shared.platform.ids import DRIVER, PAYOUT, WALLET, public_id
from shared.platform.pagination import PageRequest
from shared.sandbox import seed as seeding
from shared.sandbox.reset import replace_sandbox_wallet as resetting
from shared.schema.audit import Action
from shared.schema.organizations import Mode
from shared.schema.payouts import Rail

STATE_ITEMS_MAX = 100
VERIFICATION_SECONDS_MAX = 15.0
VERIFICATION_POLL_SECONDS = 0.1
SANDBOX_ERROR_CODES = ("SANDBOX_ONLY",)


def _require_sandbox(request: web.Request) -> None:
    if request[CREDENTIAL].mode != Mode.SANDBOX:
        raise Forbidden("This endpoint requires a sandbox key", code="SANDBOX_ONLY")


class SandboxState(TypedDict):
    """The sandbox's newest 100 drivers and payouts, and their total numbers."""

    drivers: list[Driver]
    payouts: list[Payout]
    balance: Annotated[int, Meta(description="Available, in cents.", examples=[1000000])]
    driverCount: Count
    payoutCount: Count


class SeededCounts(TypedDict):
    """The numbers of seeded objects."""

    drivers: Annotated[int, Meta(examples=[5])]
    payouts: Annotated[int, Meta(examples=[10])]


class SandboxSeeded(TypedDict):
    """The result of seeding the sandbox."""

    message: str
    data: SeededCounts


@operation(response=Message, flat=True, error_codes=SANDBOX_ERROR_CODES)
async def reset_sandbox_state(request: web.Request) -> web.Response:
    """Reset the sandbox to no drivers, no payouts and the opening balance.

    The response takes 2 seconds, until all gateways use the new state. Payouts in progress end invisibly.
    """
    _require_sandbox(request)
    services, organization_id = request.app[SERVICES], request[CREDENTIAL].organization_id
    now, actor = services.clock.now(), request_actor(request)

    def work(connection: sa.Connection) -> uuid.UUID:
        old_wallet = resetting(connection, organization_id, now)
        entry = audit.Entry(actor, Action.SANDBOX_RESET, public_id(WALLET, old_wallet))
        audit.record_entries(connection, [entry], now)
        return old_wallet

    old_wallet = await services.write(work)
    services.credential_cache.clear()
    for waiting in await services.read(lambda connection: load_unreleased_batches(connection, old_wallet)):
        await services.write(partial(cancel_queued_batches, refs=[waiting], now=now))
    await asyncio.sleep(CREDENTIAL_CACHE_SECONDS)  # other gateways cache the old wallet for that long
    return flat_response(request, message="Sandbox state reset successfully")


@operation(response=SandboxState, error_codes=SANDBOX_ERROR_CODES)
async def get_sandbox_state(request: web.Request) -> web.Response:
    """Return the sandbox's newest 100 drivers and payouts, and its balance."""
    _require_sandbox(request)
    wallet, page = wallet_id(request), PageRequest(STATE_ITEMS_MAX)

    def read(connection: sa.Connection) -> dict[str, Any]:
        known = load_driver_page(connection, wallet, page)
        payouts = queries.load_payout_page(connection, wallet, page)
        return {
            "drivers": [driver_payload(row) for row in known.rows],
            "payouts": [payout_payload(row) for row in payouts.rows],
            "balance": ledger.load_balances(connection, wallet).available_cents,
            "driverCount": known.total,
            "payoutCount": payouts.total,
        }

    return success_response(request, await request.app[SERVICES].read(read))


@operation(
    response=SandboxSeeded,
    flat=True,
    error_codes=(*SANDBOX_ERROR_CODES, "INSUFFICIENT_FUNDS", "KYC_PENDING", "KYC_REJECTED", "DRIVER_INACTIVE"),
)
async def seed_sandbox_data(request: web.Request) -> web.Response:
    """Add five drivers and ten payouts to the sandbox, as far as they are missing.

    The response takes a second or two, until Paystream has verified the drivers.
    """
    _require_sandbox(request)
    services, wallet = request.app[SERVICES], wallet_id(request)
    now: datetime = services.clock.now()
    actor = request_actor(request)

    def record(connection: sa.Connection, ids: list[str]) -> None:
        entry = audit.Entry(actor, Action.SANDBOX_SEED, None, after={"count": len(ids), "ids": ids})
        audit.record_entries(connection, [entry] if ids else [], now)

    def register(connection: sa.Connection) -> list[uuid.UUID]:
        ids = seeding.register_seed_drivers(connection, wallet, now, grace=services.wake_up_grace)
        record(connection, [public_id(DRIVER, driver_id) for driver_id in ids])
        return ids

    added = await services.write(register)
    services.task_sender.enqueue(task_queue.REGISTER_DRIVERS, added)
    try:
        async with asyncio.timeout(VERIFICATION_SECONDS_MAX):
            while True:
                known = await services.read(lambda connection: seeding.load_seeded_drivers(connection, wallet))
                if known.waiting == 0 and len(known.ids) == len(seeding.SEED_DRIVERS):
                    break
                await asyncio.sleep(VERIFICATION_POLL_SECONDS)
    except TimeoutError:
        raise ApiError(
            503,
            "SERVICE_UNAVAILABLE",
            "Paystream has not verified the drivers yet; retry in a few seconds",
            headers={"Retry-After": "5"},
        ) from None

    def create(connection: sa.Connection) -> list[PayoutRow]:
        rows = seeding.accept_seed_payouts(connection, wallet, known.ids, now, grace=services.wake_up_grace)
        record(connection, [public_id(PAYOUT, row.id) for row in rows])
        return rows

    payouts = await services.write(create)
    _enqueue(services.task_sender, payouts)
    counts = {"drivers": len(seeding.SEED_DRIVERS), "payouts": len(seeding.SEED_PAYOUTS)}
    return flat_response(request, message="Sandbox seeded with test data", data=counts)


def _enqueue(task_sender: task_queue.TaskSender, payouts: list[PayoutRow]) -> None:
    instant = [row.submission_id for row in payouts if row.rail == Rail.INSTANT and row.submission_id]
    task_sender.enqueue(task_queue.SEND_INSTANT_SUBMISSIONS, instant)
    task_sender.enqueue(task_queue.QUEUE_PAYOUTS, [row.id for row in payouts if row.rail != Rail.INSTANT])
