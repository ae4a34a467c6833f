"""Endpoints of API keys: a developer's own, and for admins all of the organization's. They speak snake_case."""

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
from gateway.http.envelope import list_page_payload as shaped_page
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


def _made(made: IssuedKey, now: datetime) -> dict[str, Any]:
    note = NEW_KEY_NOTE if made.text is not None else PENDING_KEY_NOTE
    return {**key_payload(made.row, now), "key": made.text, "note": note}


def _note(
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
    """Lists the API keys that you asked for, newest first."""
    services, account = request.app[SERVICES], request[SIGNED_IN_USER]
    rows = await services.read(lambda connection: load_user_keys(connection, account.id))
    return _all(request, services, rows)


def _all(request: web.Request, services: Services, rows: list[KeyRow]) -> web.Response:
    now = services.clock.now()
    shown = [key_payload(row, now) for row in rows]
    return flat_response(request, keys=shown, total=len(shown), has_next_page=False)


@operation(
    body=CreateKey,
    response=NewApiKey,
    flat=True,
    error_codes=("SCOPE_NOT_YOURS", "TOO_MANY_KEYS"),
    idempotent=True,
)
async def create_own_key(request: web.Request, body: CreateKey) -> web.Response:
    """Creates an API key.

    A sandbox key can be used at once, and is shown once. A production key needs an `approval_reason` and waits for an
    owner or admin.
    """
    if len(set(body.scopes)) != len(body.scopes):
        raise InvalidRequest("scopes names one twice", field="scopes")
    if body.mode is Mode.PRODUCTION and body.approval_reason is None:
        raise InvalidRequest("approval_reason is required for a production key", field="approval_reason")
    account, pepper = request[SIGNED_IN_USER], request.app[SERVICES].settings.key_pepper
    new = NewKey(body.name, body.mode, body.scopes, body.expires_in, body.approval_reason)

    def work(connection: sa.Connection, now: datetime) -> dict[str, Any]:
        made = request_key(connection, account.organization_id, account.id, new, pepper, now)
        shown = _made(made, now)
        facts = {name: shown[name] for name in ("name", "mode", "scopes", "approval_status", "expires_at")}
        _note(connection, request, Action.KEY_CREATE, made.row, now, facts)
        return shown

    return await run_idempotently_for_user(request, work)


@operation(response=ApiKey, flat=True, error_codes=("KEY_NOT_FOUND",))
async def get_own_key(request: web.Request) -> web.Response:
    """Shows one of your API keys."""
    services, account, key_id = request.app[SERVICES], request[SIGNED_IN_USER], _key_id(request)
    row = await services.read(
        lambda connection: load_key(connection, account.organization_id, key_id, user_id=account.id)
    )
    return flat_response(request, **key_payload(row, services.clock.now()))


@operation(response=Message, flat=True, error_codes=("KEY_NOT_FOUND", "KEY_REVOKED"))
async def revoke_own_key(request: web.Request) -> web.Response:
    """Revokes one of your API keys, for good."""
    account = request[SIGNED_IN_USER]
    return await _revoke(request, account.id)


async def _revoke(request: web.Request, user_id: uuid.UUID | None) -> web.Response:
    services, account, key_id = request.app[SERVICES], request[SIGNED_IN_USER], _key_id(request)
    now = services.clock.now()

    def work(connection: sa.Connection) -> None:
        row = revoke_key(connection, account.organization_id, key_id, now, user_id=user_id)
        _note(
            connection, request, Action.KEY_REVOKE, row, now, {"revoked_at": format_rfc3339(now)}, {"revoked_at": None}
        )

    await services.write(work)
    services.credential_cache.forget()
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
    """Makes one of your API keys anew: the same id and scopes, another key.

    The old one works for `grace_period_hours` longer, none by default, and is refused within 2 seconds after that.
    """
    services, account, key_id = request.app[SERVICES], request[SIGNED_IN_USER], _key_id(request)
    pepper, grace = services.settings.key_pepper, timedelta(hours=body.grace_period_hours)

    def work(connection: sa.Connection, now: datetime) -> dict[str, Any]:
        made = regenerate_key(connection, account.organization_id, account.id, key_id, pepper, now, grace=grace)
        facts = {"grace_period_hours": body.grace_period_hours}
        _note(connection, request, Action.KEY_REGENERATE, made.row, now, facts)
        return _made(made, now)

    answer = await run_idempotently_for_user(request, work)
    services.credential_cache.forget()
    return answer


@operation(response=Scopes, flat=True)
async def list_scopes(request: web.Request) -> web.Response:
    """Lists what you can let an API key do: nobody grants what he lacks."""
    yours = SCOPES_BY_ROLE[Role(request[SIGNED_IN_USER].role)]
    descriptions = {scope: what for scope, what in SCOPES.items() if scope in yours}
    return flat_response(request, scopes=list(descriptions), descriptions=descriptions)


@operation(query=ListKeys, response=ListPage[ApiKey])
async def list_organization_keys(request: web.Request, listing: ListKeys) -> web.Response:
    """Lists the organization's API keys, newest first."""
    services, account, part = request.app[SERVICES], request[SIGNED_IN_USER], requested_page(listing, KEY)
    mode = None if listing.mode is UNSET else listing.mode
    status = None if listing.status is UNSET else listing.status
    found = await services.read(
        lambda connection: load_organization_keys(connection, account.organization_id, part, mode=mode, status=status)
    )
    now = services.clock.now()
    return success_response(request, shaped_page([key_payload(row, now) for row in found.rows], found, part))


@operation(response=ApiKeys, flat=True)
async def list_pending_keys(request: web.Request) -> web.Response:
    """Lists production keys that wait for approval, oldest first."""
    services, account = request.app[SERVICES], request[SIGNED_IN_USER]
    rows = await services.read(lambda connection: load_pending_keys(connection, account.organization_id))
    return _all(request, services, rows)


@operation(response=ApiKey, error_codes=("KEY_NOT_FOUND",))
async def get_organization_key(request: web.Request) -> web.Response:
    """Shows an API key of the organization."""
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
    """Approves a production key; it is shown this once."""
    account, key_id, pepper = request[SIGNED_IN_USER], _key_id(request), request.app[SERVICES].settings.key_pepper

    def work(connection: sa.Connection, now: datetime) -> dict[str, Any]:
        made = approve_key(connection, account.organization_id, account.id, key_id, pepper, now)
        decided = {"approval_status": made.row.approval_status}
        _note(connection, request, Action.KEY_APPROVE, made.row, now, decided, PENDING)
        return _made(made, now)

    return await run_idempotently_for_user(request, work)


@operation(
    body=RejectKey,
    response=RejectedKey,
    flat=True,
    error_codes=("KEY_NOT_FOUND", "KEY_NOT_PENDING"),
    idempotent=True,
)
async def reject_organization_key(request: web.Request, body: RejectKey) -> web.Response:
    """Rejects a production key."""
    account, key_id = request[SIGNED_IN_USER], _key_id(request)

    def work(connection: sa.Connection, now: datetime) -> dict[str, Any]:
        row = reject_key(connection, account.organization_id, account.id, key_id, body.reason, now)
        decided = {"approval_status": row.approval_status}
        _note(connection, request, Action.KEY_REJECT, row, now, decided, PENDING)
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
    """Revokes any API key of the organization, for good."""
    return await _revoke(request, None)
