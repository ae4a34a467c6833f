"""Endpoints of the sandbox: start it afresh, fill it, look into it. A production key is refused."""

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


def _sandbox_only(request: web.Request) -> None:
    if request[CREDENTIAL].mode != Mode.SANDBOX:
        raise Forbidden("This endpoint takes sandbox keys only", code="SANDBOX_ONLY")


class SandboxState(TypedDict):
    """What is in the sandbox: the newest 100 of each, and how many there are."""

    drivers: list[Driver]
    payouts: list[Payout]
    balance: Annotated[int, Meta(description="Available, in cents.", examples=[1000000])]
    driverCount: Count
    payoutCount: Count


class SeededCounts(TypedDict):
    """How many of the seed are there now."""

    drivers: Annotated[int, Meta(examples=[5])]
    payouts: Annotated[int, Meta(examples=[10])]


class SandboxSeeded(TypedDict):
    """The sandbox has its test data."""

    message: str
    data: SeededCounts


@operation(response=Message, flat=True, error_codes=SANDBOX_ERROR_CODES)
async def reset_sandbox_state(request: web.Request) -> web.Response:
    """Clears the sandbox: no drivers, no payouts, the opening balance.

    It answers once every gateway knows, which takes 2 seconds. What is under way ends unseen.
    """
    _sandbox_only(request)
    services, organization_id = request.app[SERVICES], request[CREDENTIAL].organization_id
    now, actor = services.clock.now(), request_actor(request)

    def work(connection: sa.Connection) -> uuid.UUID:
        old_wallet = resetting(connection, organization_id, now)
        entry = audit.Entry(actor, Action.SANDBOX_RESET, public_id(WALLET, old_wallet))
        audit.record_entries(connection, [entry], now)
        return old_wallet

    old_wallet = await services.write(work)
    services.credential_cache.forget()
    for waiting in await services.read(lambda connection: load_unreleased_batches(connection, old_wallet)):
        await services.write(partial(cancel_queued_batches, refs=[waiting], now=now))
    await asyncio.sleep(CREDENTIAL_CACHE_SECONDS)  # other gateways remember the old wallet for that long
    return flat_response(request, message="Sandbox state reset successfully")


@operation(response=SandboxState, error_codes=SANDBOX_ERROR_CODES)
async def get_sandbox_state(request: web.Request) -> web.Response:
    """Shows what is in the sandbox: the newest 100 drivers and payouts, and the balance."""
    _sandbox_only(request)
    wallet, part = wallet_id(request), PageRequest(STATE_ITEMS_MAX)

    def read(connection: sa.Connection) -> dict[str, Any]:
        known = load_driver_page(connection, wallet, part)
        payouts = queries.load_payout_page(connection, wallet, part)
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
    """Fills the sandbox with five drivers and ten payouts; what is there already is left alone.

    It answers once Paystream has verified the drivers, which takes a second or two.
    """
    _sandbox_only(request)
    services, wallet = request.app[SERVICES], wallet_id(request)
    now: datetime = services.clock.now()
    actor = request_actor(request)

    def note(connection: sa.Connection, ids: list[str]) -> None:
        entry = audit.Entry(actor, Action.SANDBOX_SEED, None, after={"count": len(ids), "ids": ids})
        audit.record_entries(connection, [entry] if ids else [], now)

    def register(connection: sa.Connection) -> list[uuid.UUID]:
        ids = seeding.register_seed_drivers(connection, wallet, now, grace=services.wake_up_grace)
        note(connection, [public_id(DRIVER, driver_id) for driver_id in ids])
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
            "Paystream has not verified the drivers yet; repeat the request in a moment",
            headers={"Retry-After": "5"},
        ) from None

    def create(connection: sa.Connection) -> list[PayoutRow]:
        rows = seeding.accept_seed_payouts(connection, wallet, known.ids, now, grace=services.wake_up_grace)
        note(connection, [public_id(PAYOUT, row.id) for row in rows])
        return rows

    payouts = await services.write(create)
    _enqueue(services.task_sender, payouts)
    counts = {"drivers": len(seeding.SEED_DRIVERS), "payouts": len(seeding.SEED_PAYOUTS)}
    return flat_response(request, message="Sandbox seeded with test data", data=counts)


def _enqueue(task_sender: task_queue.TaskSender, payouts: list[PayoutRow]) -> None:
    instant = [row.submission_id for row in payouts if row.rail == Rail.INSTANT and row.submission_id]
    task_sender.enqueue(task_queue.SEND_INSTANT_SUBMISSIONS, instant)
    task_sender.enqueue(task_queue.QUEUE_PAYOUTS, [row.id for row in payouts if row.rail != Rail.INSTANT])
