"""Endpoints of drivers: register, list, get."""

import uuid
from typing import Annotated, Any, Literal

import msgspec
import sqlalchemy as sa
from aiohttp import web

from gateway import query
from gateway.decoding import decoded
from gateway.envelope import page as shaped_page
from gateway.handlers.common import Reference, once, success, wallet_id
from gateway.state import SERVICES
from shared import broker
from shared.clock import rfc3339
from shared.drivers import edit, rows
from shared.drivers import register as registering
from shared.drivers.edit import unknown
from shared.errors import Refusal
from shared.ids import DRIVER, parse
from shared.models.drivers import DriverStatus
from shared.payouts import reading
from shared.payouts.rows import public

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Email = Annotated[str, msgspec.Meta(max_length=254, pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+\Z")]
Phone = Annotated[str, msgspec.Meta(pattern=r"^\+[1-9][0-9]{6,14}\Z")]


class RegisterDriver(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /drivers`. `phone` is E.164, as in +15551234567."""

    ovnDriverId: Reference
    name: Name
    email: Email
    phone: Phone | None = None


async def register(request: web.Request) -> web.Response:
    """Registers a driver, `invited`; the provider is told by a worker."""
    body, raw = await decoded(request, RegisterDriver)
    services, wallet = request.app[SERVICES], wallet_id(request)
    added: list[rows.DriverRow] = []

    def work(connection: Any, now: Any) -> dict[str, Any]:
        new = registering.NewDriver(body.ovnDriverId, body.name, body.email, body.phone)
        [row] = registering.register(connection, wallet, [new], now, grace=services.grace)
        if isinstance(row, Refusal):
            raise row
        added.append(row)
        return rows.public(row)

    answer = await once(request, raw, work)
    services.doorbell.ring(broker.REGISTER_DRIVERS, [row.id for row in added])
    return answer


def id_in(request: web.Request) -> uuid.UUID:
    """The driver's id in the path; one that can't be an id is an unknown driver."""
    text = request.match_info["id"]
    driver_id = parse(DRIVER, text)
    if driver_id is None:
        raise unknown(text)
    return driver_id


async def get(request: web.Request) -> web.Response:
    """One driver."""
    wallet, driver_id = wallet_id(request), id_in(request)
    row = await request.app[SERVICES].read(lambda connection: rows.get(connection, wallet, driver_id))
    if row is None:
        raise unknown(request.match_info["id"])
    return success(request, rows.public(row))


class UpdateDriver(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `PUT /drivers/:id`; what is left out stays."""

    name: Name | None = None
    email: Email | None = None
    phone: Phone | None = None
    status: Literal["active", "inactive"] | None = None


async def update(request: web.Request) -> web.Response:
    """Changes a driver."""
    wallet, driver_id = wallet_id(request), id_in(request)
    body, _ = await decoded(request, UpdateDriver)
    active = None if body.status is None else body.status == "active"
    changes = edit.Changes(body.name, body.email, body.phone, active)
    services = request.app[SERVICES]
    now = services.clock.now()
    row = await services.write(lambda connection: edit.update(connection, wallet, driver_id, changes, now))
    return success(request, rows.public(row))


async def delete(request: web.Request) -> web.Response:
    """Deletes a driver who has no open payout."""
    wallet, driver_id = wallet_id(request), id_in(request)
    services = request.app[SERVICES]
    now = services.clock.now()
    await services.write(lambda connection: edit.delete(connection, wallet, driver_id, now))
    return success(request, {"id": request.match_info["id"], "status": "inactive", "deletedAt": rfc3339(now)})


async def payouts(request: web.Request) -> web.Response:
    """A page of a driver's payouts, newest first."""
    query.only(request, "page", "pageSize")
    wallet, driver_id, paging = wallet_id(request), id_in(request), query.paging(request)

    def read(connection: sa.Connection) -> reading.Page | None:
        if rows.get(connection, wallet, driver_id) is None:
            return None
        return reading.page(connection, wallet, number=paging.number, size=paging.size, driver_id=driver_id)

    found = await request.app[SERVICES].read(read)
    if found is None:
        raise unknown(request.match_info["id"])
    items = [public(row) for row in found.rows]
    return success(request, shaped_page(items, found.total, paging.number, paging.size))


async def page(request: web.Request) -> web.Response:
    """A page of drivers, newest first."""
    query.only(request, "page", "pageSize", "status")
    wallet, paging = wallet_id(request), query.paging(request)
    status = query.choice(request, "status", DriverStatus)
    found, total = await request.app[SERVICES].read(
        lambda connection: rows.page(connection, wallet, number=paging.number, size=paging.size, status=status)
    )
    return success(request, shaped_page([rows.public(row) for row in found], total, paging.number, paging.size))
