"""Handlers of drivers: register, list, get, update, delete, and a driver's payouts."""

import uuid
from collections.abc import Iterable
from typing import Any, Final

import sqlalchemy as sa
from aiohttp import web
from msgspec import UNSET

from gateway.app_state import SCENARIO, SERVICES
from gateway.handlers.common_shapes import ListPage
from gateway.handlers.driver_shapes import DeletedDriver, Driver, ListDrivers, RegisterDriver, UpdateDriver
from gateway.handlers.payout_shapes import Payout
from gateway.handlers.requests import (
    request_actor,
    run_idempotently_and_enqueue,
    success_response,
    wallet_id,
)
from gateway.http.envelope import list_page_payload
from gateway.http.query_parameters import PageQuery, requested_page
from gateway.openapi.operation import operation
from shared.drivers import register as registering
from shared.drivers import rows
from shared.drivers.bank_details import DriverDetails, encrypt_details
from shared.drivers.delete import soft_delete_driver
from shared.drivers.queries import load_driver, load_driver_page
from shared.drivers.rows import driver_not_found
from shared.drivers.update import DriverChanges, apply_driver_changes
from shared.identity import audit
from shared.payouts import queries
from shared.payouts.rows import PayoutRow, payout_payload
from shared.platform import task_queue
from shared.platform.clock import format_rfc3339
from shared.platform.errors import DomainError, InvalidRequest
from shared.platform.failpoints import failpoint
from shared.platform.ids import DRIVER, PAYOUT, parse_id, public_id
from shared.platform.pagination import Page
from shared.schema.audit import Action
from shared.schema.scenarios import Scenario


@operation(body=RegisterDriver, response=Driver, error_codes=("DRIVER_EXISTS",), idempotent=True)
async def register_driver(request: web.Request, body: RegisterDriver) -> web.Response:
    """Register a driver.

    The driver is `invited` at first, and `active` once Paystream has verified them: then they can be paid.
    """
    services, wallet, actor = request.app[SERVICES], wallet_id(request), request_actor(request)
    added: list[uuid.UUID] = []

    def work(connection: Any, now: Any) -> dict[str, Any]:
        new = registering.NewDriver(body.ovnDriverId, body.name, body.email, body.phone)
        [row] = registering.register_drivers(connection, wallet, [new], now, grace=services.wake_up_grace)
        if isinstance(row, DomainError):
            raise row
        audit.record_entries(connection, registration_entries(actor, [row]), now)
        added.append(row.id)
        return rows.driver_payload(row)

    return await run_idempotently_and_enqueue(request, work, task_queue.REGISTER_DRIVERS, added)


def registration_entries(actor: audit.Actor, outcomes: Iterable[rows.DriverRow | DomainError]) -> list[audit.Entry]:
    return [
        audit.Entry(
            actor,
            Action.DRIVER_CREATE,
            public_id(DRIVER, row.id),
            after={"ovnDriverId": row.ovn_driver_id, "status": row.status},
        )
        for row in outcomes
        if not isinstance(row, DomainError)
    ]


def driver_id_from_path(request: web.Request) -> uuid.UUID:
    """The driver id in the path; raises NotFound if the text is no driver id."""
    text = request.match_info["id"]
    driver_id = parse_id(DRIVER, text)
    if driver_id is None:
        raise driver_not_found(text)
    return driver_id


@operation(response=Driver, error_codes=("DRIVER_NOT_FOUND",))
async def get_driver(request: web.Request) -> web.Response:
    """Return a driver."""
    wallet, driver_id = wallet_id(request), driver_id_from_path(request)
    row = await request.app[SERVICES].read(lambda connection: load_driver(connection, wallet, driver_id))
    if row is None:
        raise driver_not_found(request.match_info["id"])
    return success_response(request, driver_response_payload(request, row))


def driver_response_payload(request: web.Request, row: rows.DriverRow) -> dict[str, Any]:
    """Format a driver, as the request's sandbox scenario changes it."""
    if request[SCENARIO] is Scenario.KYC_PENDING:
        row = row._replace(status="pending", kyc_status="pending")
    return rows.driver_payload(row)


@operation(body=UpdateDriver, response=Driver, error_codes=("DRIVER_NOT_FOUND",))
async def update_driver(request: web.Request, body: UpdateDriver) -> web.Response:
    """Update a driver.

    Fields that are left out stay unchanged; a null `phone` is removed. `status` deactivates or reactivates the driver.
    `bankAccount` and `identity` are passed on to Paystream and not stored; the driver is `pending` until it has
    verified them.
    """
    wallet, driver_id = wallet_id(request), driver_id_from_path(request)
    changes = DriverChanges(
        name=None if body.name is UNSET else body.name,
        email=None if body.email is UNSET else body.email,
        phone=None if body.phone is UNSET else body.phone,
        no_phone=body.phone is None,
        active=None if body.status is UNSET else body.status == "active",
    )
    services = request.app[SERVICES]
    if body.bankAccount is not UNSET:
        details = DriverDetails(body.bankAccount, None if body.identity is UNSET else body.identity)
        changes = changes._replace(sealed_details=encrypt_details(details, services.settings.key_pepper))
    elif body.identity is not UNSET:
        raise InvalidRequest("Paystream takes identity together with a bankAccount; send both", field="bankAccount")
    now, actor = services.clock.now(), request_actor(request)

    def work(connection: sa.Connection) -> rows.DriverRow:
        before = load_driver(connection, wallet, driver_id, lock=True)
        row = apply_driver_changes(connection, wallet, driver_id, changes, now, grace=services.wake_up_grace)
        if before is not None:
            was, is_ = audited_driver_changes(before, row, changes)
            audit.record_entries(
                connection, [audit.Entry(actor, Action.DRIVER_UPDATE, public_id(DRIVER, row.id), was, is_)], now
            )
        return row

    row = await services.write(work)
    if changes.sealed_details is not None:
        services.task_sender.enqueue(task_queue.REGISTER_DRIVERS, [driver_id])
        failpoint("driver_update.after_enqueue")
    return success_response(request, rows.driver_payload(row))


PERSONAL_FIELDS: Final = frozenset({"name", "email", "phone"})


def audited_driver_changes(
    before: rows.DriverRow, after: rows.DriverRow, changes: DriverChanges
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The audited changes of a driver: personal data is masked."""
    names = PERSONAL_FIELDS | {"status", "kycStatus"}
    was, is_ = (rows.driver_payload(row) for row in (before, after))
    differing = audit.changed_fields({name: was[name] for name in names}, {name: is_[name] for name in names})
    was, is_ = (audit.mask_fields(fields, PERSONAL_FIELDS) for fields in differing)
    return was, is_ if changes.sealed_details is None else {**is_, "bankAccount": audit.MASKED}


@operation(response=DeletedDriver, error_codes=("DRIVER_NOT_FOUND", "DRIVER_HAS_OPEN_PAYOUTS"))
async def delete_driver(request: web.Request) -> web.Response:
    """Delete a driver without open payouts.

    The driver's payouts stay, and the `ovnDriverId` can be registered again.
    """
    wallet, driver_id = wallet_id(request), driver_id_from_path(request)
    services, actor = request.app[SERVICES], request_actor(request)
    now = services.clock.now()

    def work(connection: sa.Connection) -> None:
        was = {"status": soft_delete_driver(connection, wallet, driver_id, now)}
        entry = audit.Entry(actor, Action.DRIVER_DELETE, public_id(DRIVER, driver_id), was, {"status": "inactive"})
        audit.record_entries(connection, [entry], now)

    await services.write(work)
    return success_response(
        request, {"id": request.match_info["id"], "status": "inactive", "deletedAt": format_rfc3339(now)}
    )


@operation(query=PageQuery, response=ListPage[Payout], error_codes=("DRIVER_NOT_FOUND",))
async def list_driver_payouts(request: web.Request, listing: PageQuery) -> web.Response:
    """List a driver's payouts, newest first."""
    wallet, driver_id, page = wallet_id(request), driver_id_from_path(request), requested_page(listing, PAYOUT)

    def read(connection: sa.Connection) -> Page[PayoutRow] | None:
        if load_driver(connection, wallet, driver_id) is None:
            return None
        return queries.load_payout_page(connection, wallet, page, driver_id=driver_id)

    found = await request.app[SERVICES].read(read)
    if found is None:
        raise driver_not_found(request.match_info["id"])
    return success_response(request, list_page_payload([payout_payload(row) for row in found.rows], found, page))


@operation(query=ListDrivers, response=ListPage[Driver])
async def list_drivers(request: web.Request, listing: ListDrivers) -> web.Response:
    """List drivers, newest first."""
    wallet, page = wallet_id(request), requested_page(listing, DRIVER)
    status = None if listing.status is UNSET else listing.status
    found = await request.app[SERVICES].read(
        lambda connection: load_driver_page(connection, wallet, page, status=status)
    )
    return success_response(
        request, list_page_payload([driver_response_payload(request, row) for row in found.rows], found, page)
    )
