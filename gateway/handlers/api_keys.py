"""Handlers of API keys: a user's own, and the organization's for admins. Their JSON is snake_case."""

import uuid
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from aiohttp import web
from msgspec import UNSET

from gateway.app_state import SERVICES, SIGNED_IN_USER, Services
from gateway.handlers.api_key_shapes import (
    ApiKey,
    ApiKeys,
    CreateKey,
    ListKeys,
    NewApiKey,
    RegenerateKey,
    RejectedKey,
    RejectKey,
    Scopes,
)
from gateway.handlers.common_shapes import ListPage, Message
from gateway.handlers.requests import flat_response, request_actor, run_idempotently_for_user, success_response
from gateway.http.envelope import list_page_payload
from gateway.http.query_parameters import requested_page
from gateway.openapi.operation import operation
from shared.identity import audit
from shared.identity.api_keys import SCOPES, SCOPES_BY_ROLE
from shared.identity.api_keys.change import regenerate_key, revoke_key
from shared.identity.api_keys.queries import load_key, load_organization_keys, load_pending_keys, load_user_keys
from shared.identity.api_keys.request import approve_key, reject_key, request_key
from shared.identity.api_keys.rows import NEW_KEY_NOTE, PENDING_KEY_NOTE, IssuedKey, KeyRow, NewKey, key_payload
from shared.platform.clock import format_rfc3339
from shared.platform.errors import InvalidRequest
from shared.platform.ids import KEY, parse_id, public_id
from shared.schema.audit import Action
from shared.schema.organizations import ApprovalStatus, Mode, Role

KEY_REVOKED_MESSAGE: Final = "API key revoked successfully"


def _key_id(request: web.Request) -> uuid.UUID | None:
    return parse_id(KEY, request.match_info["id"])


def _issued_payload(issued: IssuedKey, now: datetime) -> dict[str, Any]:
    note = NEW_KEY_NOTE if issued.text is not None else PENDING_KEY_NOTE
    return {**key_payload(issued.row, now), "key": issued.text, "note": note}


def _record(
    connection: sa.Connection,
    request: web.Request,
    action: Action,
    row: KeyRow,
    now: datetime,
    after: dict[str, Any],
    before: dict[str, Any] | None = None,
) -> None:
    entry = audit.Entry(request_actor(request), action, public_id(KEY, row.id), before, after)
    audit.record_entries(connection, [entry], now)


PENDING: Final = {"approval_status": ApprovalStatus.PENDING}


@operation(response=ApiKeys, flat=True)
async def list_own_keys(request: web.Request) -> web.Response:
    """List your API keys, newest first."""
    services, account = request.app[SERVICES], request[SIGNED_IN_USER]
    rows = await services.read(lambda connection: load_user_keys(connection, account.id))
    return _all_keys_response(request, services, rows)


def _all_keys_response(request: web.Request, services: Services, rows: list[KeyRow]) -> web.Response:
    now = services.clock.now()
    payload = [key_payload(row, now) for row in rows]
    return flat_response(request, keys=payload, total=len(payload), has_next_page=False)


@operation(
    body=CreateKey,
    response=NewApiKey,
    flat=True,
    error_codes=("SCOPE_NOT_YOURS", "TOO_MANY_KEYS"),
    idempotent=True,
)
async def create_own_key(request: web.Request, body: CreateKey) -> web.Response:
    """Create an API key.

    A sandbox key works at once, and is shown once. A production key requires an `approval_reason` and the approval
    of an owner or admin.
    """
    if len(set(body.scopes)) != len(body.scopes):
        raise InvalidRequest("`scopes` contains duplicates", field="scopes")
    if body.mode is Mode.PRODUCTION and body.approval_reason is None:
        raise InvalidRequest("`approval_reason` is required for a production key", field="approval_reason")
    account, pepper = request[SIGNED_IN_USER], request.app[SERVICES].settings.key_pepper
    new = NewKey(body.name, body.mode, body.scopes, body.expires_in, body.approval_reason)

    def work(connection: sa.Connection, now: datetime) -> dict[str, Any]:
        issued = request_key(connection, account.organization_id, account.id, new, pepper, now)
        payload = _issued_payload(issued, now)
        after = {name: payload[name] for name in ("name", "mode", "scopes", "approval_status", "expires_at")}
        _record(connection, request, Action.KEY_CREATE, issued.row, now, after)
        return payload

    return await run_idempotently_for_user(request, work)


@operation(response=ApiKey, flat=True, error_codes=("KEY_NOT_FOUND",))
async def get_own_key(request: web.Request) -> web.Response:
    """Return one of your API keys."""
    services, account, key_id = request.app[SERVICES], request[SIGNED_IN_USER], _key_id(request)
    row = await services.read(
        lambda connection: load_key(connection, account.organization_id, key_id, user_id=account.id)
    )
    return flat_response(request, **key_payload(row, services.clock.now()))


@operation(response=Message, flat=True, error_codes=("KEY_NOT_FOUND", "KEY_REVOKED"))
async def revoke_own_key(request: web.Request) -> web.Response:
    """Revoke one of your API keys, permanently."""
    account = request[SIGNED_IN_USER]
    return await _revoke(request, account.id)


async def _revoke(request: web.Request, user_id: uuid.UUID | None) -> web.Response:
    services, account, key_id = request.app[SERVICES], request[SIGNED_IN_USER], _key_id(request)
    now = services.clock.now()

    def work(connection: sa.Connection) -> None:
        row = revoke_key(connection, account.organization_id, key_id, now, user_id=user_id)
        _record(
            connection, request, Action.KEY_REVOKE, row, now, {"revoked_at": format_rfc3339(now)}, {"revoked_at": None}
        )

    await services.write(work)
    services.credential_cache.clear()
    return flat_response(request, message=KEY_REVOKED_MESSAGE)


@operation(
    body=RegenerateKey,
    body_optional=True,
    response=NewApiKey,
    flat=True,
    error_codes=("KEY_NOT_FOUND", "KEY_NOT_APPROVED", "KEY_REVOKED", "SCOPE_NOT_YOURS"),
    idempotent=True,
)
async def regenerate_own_key(request: web.Request, body: RegenerateKey) -> web.Response:
    """Replace one of your API keys, with the same id and scopes.

    The old key works for `grace_period_hours`, 0 by default, and is rejected at most 2 seconds later.
    """
    services, account, key_id = request.app[SERVICES], request[SIGNED_IN_USER], _key_id(request)
    pepper, grace = services.settings.key_pepper, timedelta(hours=body.grace_period_hours)

    def work(connection: sa.Connection, now: datetime) -> dict[str, Any]:
        issued = regenerate_key(connection, account.organization_id, account.id, key_id, pepper, now, grace=grace)
        after = {"grace_period_hours": body.grace_period_hours}
        _record(connection, request, Action.KEY_REGENERATE, issued.row, now, after)
        return _issued_payload(issued, now)

    response = await run_idempotently_for_user(request, work)
    services.credential_cache.clear()
    return response


@operation(response=Scopes, flat=True)
async def list_scopes(request: web.Request) -> web.Response:
    """List the scopes that you can grant to an API key: those of your role."""
    yours = SCOPES_BY_ROLE[Role(request[SIGNED_IN_USER].role)]
    descriptions = {scope: what for scope, what in SCOPES.items() if scope in yours}
    return flat_response(request, scopes=list(descriptions), descriptions=descriptions)


@operation(query=ListKeys, response=ListPage[ApiKey])
async def list_organization_keys(request: web.Request, listing: ListKeys) -> web.Response:
    """List the organization's API keys, newest first."""
    services, account, page = request.app[SERVICES], request[SIGNED_IN_USER], requested_page(listing, KEY)
    mode = None if listing.mode is UNSET else listing.mode
    status = None if listing.status is UNSET else listing.status
    found = await services.read(
        lambda connection: load_organization_keys(connection, account.organization_id, page, mode=mode, status=status)
    )
    now = services.clock.now()
    return success_response(request, list_page_payload([key_payload(row, now) for row in found.rows], found, page))


@operation(response=ApiKeys, flat=True)
async def list_pending_keys(request: web.Request) -> web.Response:
    """List the production keys that wait for approval, oldest first."""
    services, account = request.app[SERVICES], request[SIGNED_IN_USER]
    rows = await services.read(lambda connection: load_pending_keys(connection, account.organization_id))
    return _all_keys_response(request, services, rows)


@operation(response=ApiKey, error_codes=("KEY_NOT_FOUND",))
async def get_organization_key(request: web.Request) -> web.Response:
    """Return an API key of the organization."""
    services, account, key_id = request.app[SERVICES], request[SIGNED_IN_USER], _key_id(request)
    row = await services.read(lambda connection: load_key(connection, account.organization_id, key_id))
    return success_response(request, key_payload(row, services.clock.now()))


@operation(
    response=NewApiKey,
    flat=True,
    error_codes=("KEY_NOT_FOUND", "KEY_NOT_PENDING", "OWN_REQUEST"),
    idempotent=True,
)
async def approve_organization_key(request: web.Request) -> web.Response:
    """Approve a production key; it is shown only in this response."""
    account, key_id, pepper = request[SIGNED_IN_USER], _key_id(request), request.app[SERVICES].settings.key_pepper

    def work(connection: sa.Connection, now: datetime) -> dict[str, Any]:
        issued = approve_key(connection, account.organization_id, account.id, key_id, pepper, now)
        decided = {"approval_status": issued.row.approval_status}
        _record(connection, request, Action.KEY_APPROVE, issued.row, now, decided, PENDING)
        return _issued_payload(issued, now)

    return await run_idempotently_for_user(request, work)


@operation(
    body=RejectKey,
    response=RejectedKey,
    flat=True,
    error_codes=("KEY_NOT_FOUND", "KEY_NOT_PENDING"),
    idempotent=True,
)
async def reject_organization_key(request: web.Request, body: RejectKey) -> web.Response:
    """Reject a production key."""
    account, key_id = request[SIGNED_IN_USER], _key_id(request)

    def work(connection: sa.Connection, now: datetime) -> dict[str, Any]:
        row = reject_key(connection, account.organization_id, account.id, key_id, body.reason, now)
        decided = {"approval_status": row.approval_status}
        _record(connection, request, Action.KEY_REJECT, row, now, decided, PENDING)
        return {
            "id": public_id(KEY, row.id),
            "name": row.name,
            "approval_status": row.approval_status,
            "rejected_at": format_rfc3339(now),
            "rejection_reason": row.rejection_reason,
        }

    return await run_idempotently_for_user(request, work)


@operation(response=Message, flat=True, error_codes=("KEY_NOT_FOUND", "KEY_REVOKED"))
async def revoke_organization_key(request: web.Request) -> web.Response:
    """Revoke an API key of the organization, permanently."""
    return await _revoke(request, None)
