"""Steps of several handlers: the caller, responses, the idempotency key, and POSTs that run once per key."""

import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa
from aiohttp import web

from gateway.app_state import CREDENTIAL, REQUEST_ID, SERVICES, SIGNED_IN_USER
from gateway.http.envelope import ApiError, domain_error_body, flat_body, json_response, success_body
from shared.identity.audit import Actor
from shared.identity.sessions import SessionUser
from shared.platform import idempotency
from shared.platform.errors import DomainError, InvalidRequest
from shared.platform.failpoints import failpoint
from shared.platform.idempotency import KEY_LENGTH_MAX, IdempotencyKeyReused, StoredAnswer
from shared.platform.task_queue import Task
from shared.schema.audit import ActorKind


def wallet_id(request: web.Request) -> uuid.UUID:
    return request[CREDENTIAL].wallet_id


def request_actor(request: web.Request, account: SessionUser | None = None) -> Actor:
    """The request's actor for the audit log: the API key, else `account`, else the signed-in user."""
    address, request_id = request.remote, msgspec.convert(request[REQUEST_ID], uuid.UUID)
    credential = request.get(CREDENTIAL)
    if credential is not None:
        organization_id, wallet, key_id = credential.organization_id, credential.wallet_id, credential.key_id
        return Actor(ActorKind.KEY, organization_id, wallet, None, key_id, address, request_id)
    user = account or request.get(SIGNED_IN_USER)
    assert user is not None, "the route requires a credential"
    return Actor(ActorKind.USER, user.organization_id, None, user.id, None, address, request_id)


def parse_time(text: str, field: str) -> datetime:
    """Parse a field's time.

    Raises:
        InvalidRequest: it is not an RFC 3339 time with an offset.

    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise InvalidRequest(
            f"`{field}` must be an RFC 3339 time with Z or an offset, for example 2026-01-31T17:00:00Z", field=field
        )
    return found


def success_response(request: web.Request, data: Any) -> web.Response:
    return json_response(success_body(data, request[REQUEST_ID], request.app[SERVICES].clock.now()))


def flat_response(request: web.Request, **fields: Any) -> web.Response:
    """A success with its fields beside `success`."""
    return json_response(flat_body(fields, request[REQUEST_ID], request.app[SERVICES].clock.now()))


def stored_response(status: int, body: bytes, *, replayed: bool) -> web.Response:
    """A response with an encoded body, possibly stored by an earlier request."""
    return json_response(body, status, {"Idempotent-Replayed": "true"} if replayed else None)


def idempotency_key(request: web.Request) -> str | None:
    """The request's Idempotency-Key, if it has a valid one."""
    key, *others = request.headers.getall("Idempotency-Key", [None])
    if others:
        raise ApiError(400, "VALIDATION_ERROR", "`Idempotency-Key` is repeated; send it once", field="Idempotency-Key")
    if key is not None and not (0 < len(key) <= KEY_LENGTH_MAX and key.isascii() and key.isprintable()):
        raise ApiError(
            400,
            "VALIDATION_ERROR",
            f"`Idempotency-Key` must be 1 to {KEY_LENGTH_MAX} printable ASCII characters",
            field="Idempotency-Key",
        )
    return key


async def run_idempotently(
    request: web.Request,
    work: Callable[[sa.Connection, datetime], Any],
    redact: Callable[[Any], Any] = lambda data: data,
) -> web.Response:
    """Run a POST's work in one transaction, once per Idempotency-Key, and respond with its result.

    A DomainError that `work` raises is the response, and its changes are rolled back; if `work` returns it, its changes
    stay. `redact` removes from the stored response what is shown only once.
    """
    return await _run_once(request, wallet_id(request), work, success_body, redact)


async def run_idempotently_and_enqueue(
    request: web.Request,
    work: Callable[[sa.Connection, datetime], Any],
    task: Task,
    ids: Sequence[uuid.UUID],
) -> web.Response:
    """Run like `run_idempotently`, then enqueue the `ids` that `work` has added."""
    response = await run_idempotently(request, work)
    request.app[SERVICES].task_sender.enqueue(task, ids)
    failpoint("change.after_enqueue")
    return response


async def run_idempotently_for_user(
    request: web.Request, work: Callable[[sa.Connection, datetime], dict[str, Any]]
) -> web.Response:
    """Run like `run_idempotently`, with the signed-in user's own keys and a flat response.

    A field `key` is shown only once: a repeat has null in its place.
    """

    def without_key(fields: dict[str, Any]) -> dict[str, Any]:
        return {**fields, "key": None} if "key" in fields else fields

    return await _run_once(request, request[SIGNED_IN_USER].id, work, flat_body, without_key)


async def _run_once(
    request: web.Request,
    scope: uuid.UUID,
    work: Callable[[sa.Connection, datetime], Any],
    encode: Callable[[Any, str, datetime], bytes],
    redact: Callable[[Any], Any],
) -> web.Response:
    services, request_id = request.app[SERVICES], request[REQUEST_ID]
    key = idempotency_key(request)
    fingerprint = idempotency.request_fingerprint(request.method, request.path, await request.read())
    now = services.clock.now()

    def run(connection: sa.Connection) -> tuple[int, bytes, bool]:
        if key is not None:
            idempotency.lock_key(connection, scope, key)
            stored = idempotency.find_answers(connection, [(scope, key)], now).get((scope, key))
            if stored is not None:
                if stored.fingerprint != fingerprint:
                    raise IdempotencyKeyReused(key)
                return stored.http_status, stored.answer, True
        try:
            with connection.begin_nested():
                result = work(connection, now)
            if isinstance(result, DomainError):
                raise result
            status, body = 200, encode(result, request_id, now)
            stored_body = encode(redact(result), request_id, now) if key is not None else b""
        except DomainError as error:
            status, body = error.status, domain_error_body(error, request_id, now)
            stored_body = body
        if key is not None:
            idempotency.store_answers(connection, [StoredAnswer(scope, key, fingerprint, status, stored_body)], now)
        return status, body, False

    status, body, replayed = await services.write(run)
    return stored_response(status, body, replayed=replayed)
