"""Endpoints of drivers: register, list, get."""

from typing import Annotated, Any

import msgspec
from aiohttp import web

from gateway import query
from gateway.decoding import decoded
from gateway.envelope import page as shaped_page
from gateway.handlers.common import Reference, once, success, wallet_id
from gateway.state import SERVICES
from shared import broker
from shared.drivers import register as registering
from shared.drivers import rows
from shared.errors import NotFound, Refusal
from shared.ids import DRIVER, parse
from shared.models.drivers import DriverStatus

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Email = Annotated[str, msgspec.Meta(max_length=254, pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$")]
Phone = Annotated[str, msgspec.Meta(pattern=r"^\+[1-9][0-9]{6,14}$")]


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


async def get(request: web.Request) -> web.Response:
    """One driver."""
    wallet, text = wallet_id(request), request.match_info["id"]
    driver_id = parse(DRIVER, text)
    row = None
    if driver_id is not None:
        row = await request.app[SERVICES].read(lambda connection: rows.get(connection, wallet, driver_id))
    if row is None:
        raise NotFound(f"No driver {text[:100]}", code="DRIVER_NOT_FOUND")
    return success(request, rows.public(row))


async def page(request: web.Request) -> web.Response:
    """A page of drivers, newest first."""
    query.only(request, "page", "pageSize", "status")
    wallet, paging = wallet_id(request), query.paging(request)
    status = query.choice(request, "status", DriverStatus)
    found, total = await request.app[SERVICES].read(
        lambda connection: rows.page(connection, wallet, number=paging.number, size=paging.size, status=status)
    )
    return success(request, shaped_page([rows.public(row) for row in found], total, paging.number, paging.size))
