"""What several handlers need: the caller, the idempotency key, an answer, and POSTs that run once under a key."""

import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa
from aiohttp import web

from gateway.app_state import CREDENTIAL, REQUEST_ID, SERVICES, SIGNED_IN_USER
from gateway.http.envelope import ApiError, flat_body, json_response, refusal_body, success_body
from shared.identity.audit import Actor
from shared.identity.sessions import SessionUser
from shared.platform import idempotency
from shared.platform.errors import DomainError, InvalidRequest
from shared.platform.failpoints import failpoint
from shared.platform.idempotency import KEY_LENGTH_MAX, IdempotencyKeyReused, StoredAnswer
from shared.platform.task_queue import Task
from shared.schema.audit import ActorKind


def wallet_id(request: web.Request) -> uuid.UUID:
    """The wallet that the request's key opens."""
    return request[CREDENTIAL].wallet_id


def request_actor(request: web.Request, account: SessionUser | None = None) -> Actor:
    """Who the audit log says has made the request: the key's program, or the user: who is signed in, or `account`."""
    address, request_id = request.remote, msgspec.convert(request[REQUEST_ID], uuid.UUID)
    credential = request.get(CREDENTIAL)
    if credential is not None:
        organization_id, wallet, key_id = credential.organization_id, credential.wallet_id, credential.key_id
        return Actor(ActorKind.KEY, organization_id, wallet, None, key_id, address, request_id)
    user = account or request.get(SIGNED_IN_USER)
    assert user is not None, "who may call this route is known by a key or a session"
    return Actor(ActorKind.USER, user.organization_id, None, user.id, None, address, request_id)


def parse_time(text: str, field: str) -> datetime:
    """The time that a field gives.

    Raises:
        Invalid: it is no RFC 3339 time with an offset.

    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise InvalidRequest(
            f"{field} must be an RFC 3339 time with Z or an offset, as in 2026-01-31T17:00:00Z", field=field
        )
    return found


def success_response(request: web.Request, data: Any) -> web.Response:
    """A success with its data."""
    return json_response(success_body(data, request[REQUEST_ID], request.app[SERVICES].clock.now()))


def flat_response(request: web.Request, **fields: Any) -> web.Response:
    """A success whose fields stand beside `success_response`."""
    return json_response(flat_body(fields, request[REQUEST_ID], request.app[SERVICES].clock.now()))


def stored_response(status: int, body: bytes, *, replayed: bool) -> web.Response:
    """An answer that is ready made, perhaps given before."""
    return json_response(body, status, {"Idempotent-Replayed": "true"} if replayed else None)


def idempotency_key(request: web.Request) -> str | None:
    """The request's Idempotency-Key, if it has one."""
    key, *others = request.headers.getall("Idempotency-Key", [None])
    if others:
        raise ApiError(400, "VALIDATION_ERROR", "Idempotency-Key is there twice", field="Idempotency-Key")
    if key is not None and not (0 < len(key) <= KEY_LENGTH_MAX and key.isascii() and key.isprintable()):
        raise ApiError(
            400,
            "VALIDATION_ERROR",
            f"Idempotency-Key must be 1 to {KEY_LENGTH_MAX} printable ASCII characters",
            field="Idempotency-Key",
        )
    return key


async def run_idempotently(
    request: web.Request,
    work: Callable[[sa.Connection, datetime], Any],
    kept: Callable[[Any], Any] = lambda data: data,
) -> web.Response:
    """Does a POST's work in one transaction and answers with what it returns; under an Idempotency-Key, once.

    `work` may raise a Refusal: that is an answer too, and what it had changed is undone. It may also return one, and
    what it has changed stays. `kept` is what is remembered of the answer: without what is shown once.
    """
    return await _once(request, wallet_id(request), work, success_body, kept)


async def run_idempotently_and_enqueue(
    request: web.Request,
    work: Callable[[sa.Connection, datetime], Any],
    task: Task,
    ids: Sequence[uuid.UUID],
) -> web.Response:
    """The same, and then rings for the `ids` that `work` has put there."""
    response = await run_idempotently(request, work)
    request.app[SERVICES].task_sender.enqueue(task, ids)
    failpoint("change.after_enqueue")
    return response


async def run_idempotently_for_user(
    request: web.Request, work: Callable[[sa.Connection, datetime], dict[str, Any]]
) -> web.Response:
    """The same for a signed-in user, whose Idempotency-Keys are his own. The answer's fields stand beside
    `success_response`; a
    `key` among them is shown once and not stored, so a repeat has null in its place.
    """

    def keyless(fields: dict[str, Any]) -> dict[str, Any]:
        return {**fields, "key": None} if "key" in fields else fields

    return await _once(request, request[SIGNED_IN_USER].id, work, flat_body, keyless)


async def _once(
    request: web.Request,
    scope: uuid.UUID,
    work: Callable[[sa.Connection, datetime], Any],
    encode: Callable[[Any, str, datetime], bytes],
    kept: Callable[[Any], Any],
) -> web.Response:
    """Keys are unique within the scope; `kept` is what is remembered of an answer."""
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
                done = work(connection, now)
            if isinstance(done, DomainError):
                raise done
            status, body = 200, encode(done, request_id, now)
            remembered = encode(kept(done), request_id, now) if key is not None else b""
        except DomainError as refusal:
            status, body = refusal.status, refusal_body(refusal, request_id, now)
            remembered = body
        if key is not None:
            idempotency.store_answers(connection, [StoredAnswer(scope, key, fingerprint, status, remembered)], now)
        return status, body, False

    status, body, replayed = await services.write(run)
    return stored_response(status, body, replayed=replayed)
