"""Handlers of sessions: sign in, sign out, current user."""

import asyncio
from typing import Annotated, Any, TypedDict

import msgspec
import sqlalchemy as sa
import structlog
from aiohttp import web
from msgspec import Meta

from gateway.app_state import REQUEST_ID, SERVICES, SESSION_TOKEN, SIGNED_IN_USER, Services
from gateway.handlers.common_shapes import Email, Message, Time
from gateway.handlers.requests import request_actor, success_response
from gateway.http.envelope import ApiError
from gateway.openapi.operation import operation
from shared.identity import api_keys, audit, sessions
from shared.identity.sessions import NewSession, SessionUser
from shared.platform.clock import format_rfc3339
from shared.platform.ids import USER, public_id
from shared.schema.audit import Action
from shared.schema.organizations import Role

logger = structlog.get_logger(__name__)

PASSWORD_SECONDS_MAX = 5.0


class Login(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /auth/login`."""

    email: Annotated[str, msgspec.Meta(min_length=1, max_length=254, examples=["owner@demo-carrier.example"])]
    password: Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]


def user_payload(account: SessionUser) -> dict[str, Any]:
    return {"email": account.email, "role": account.role, "organization": account.organization}


class User(TypedDict):
    """A signed-in user."""

    email: Email
    role: Role
    organization: Annotated[str, Meta(examples=["Demo Carrier"])]


class SessionStarted(TypedDict):
    """A new session; the token is shown once."""

    token: Annotated[str, Meta(examples=["ovnp_sess_…"])]
    expiresAt: Time
    user: User


@operation(body=Login, response=SessionStarted, error_codes=("INVALID_CREDENTIALS", "TOO_MANY_ATTEMPTS"))
async def login(request: web.Request, body: Login) -> web.Response:
    """Sign a user in.

    The token is for the developer and admin endpoints. It expires after two hours without use, or after a day.
    """
    services = request.app[SERVICES]
    with services.sign_ins.slot(body.email.lower()):
        account = await _authenticate(request, body)
    now, actor = services.clock.now(), request_actor(request, account)

    def work(connection: sa.Connection) -> NewSession:
        audit.record_entries(connection, [audit.Entry(actor, Action.SESSION_START, public_id(USER, account.id))], now)
        return sessions.start_session(connection, account, services.settings.key_pepper, now)

    started = await services.write(work)
    return success_response(
        request,
        {"token": started.token, "expiresAt": format_rfc3339(started.expires_at), "user": user_payload(account)},
    )


async def _authenticate(request: web.Request, body: Login) -> SessionUser:
    """Check an email and password; the attempt counts as failed until the password is verified.

    Raises:
        ApiError: they are wrong; too many sign-ins failed recently; or too many are being checked.

    """
    services, limits = request.app[SERVICES], request.app[SERVICES].rate_limits
    account_name, address = body.email.lower(), str(request.remote)
    wait = await limits.count_sign_in(account_name, address)
    if wait is not None:
        raise ApiError(
            429,
            "TOO_MANY_ATTEMPTS",
            f"Too many failed sign-ins; retry after {wait} s",
            headers={"Retry-After": str(wait)},
        )
    try:
        account, is_right = await _check_password(services, body)
    except Exception:
        await limits.undo_sign_in(account_name, address)
        raise
    if account is None or not is_right:
        logger.warning("sign_in.refused", request_id=request[REQUEST_ID], address=address)
        if account is not None:
            _record_failure(request, account)
        raise ApiError(401, "INVALID_CREDENTIALS", "The email or password is wrong")
    await limits.undo_sign_in(account_name, address)
    return account


async def _check_password(services: Services, body: Login) -> tuple[SessionUser | None, bool]:
    """Find the user of an email, and check the password; both take as long for unknown emails."""
    found = await services.read(lambda connection: sessions.find_user_and_password_hash(connection, body.email))
    account, password_hash = found or (None, None)
    try:
        async with asyncio.timeout(PASSWORD_SECONDS_MAX):
            return account, await services.check_password(password_hash, body.password)
    except TimeoutError:
        raise ApiError(
            503, "SERVICE_UNAVAILABLE", "Too many sign-ins at once; try again", headers={"Retry-After": "1"}
        ) from None


def _record_failure(request: web.Request, account: SessionUser) -> None:
    """Record a failed sign-in in the background: the response must take as long for unknown emails."""
    services = request.app[SERVICES]
    now, actor = services.clock.now(), request_actor(request, account)._replace(user_id=None)
    entry = audit.Entry(actor, Action.SESSION_REFUSE, public_id(USER, account.id))
    services.write_in_background(lambda connection: audit.record_entries(connection, [entry], now))


@operation(response=Message)
async def logout(request: web.Request) -> web.Response:
    """Sign the user out; the token is rejected from now on."""
    services = request.app[SERVICES]
    hashes = [api_keys.hash_token(request[SESSION_TOKEN], pepper) for pepper in services.settings.peppers]
    now = services.clock.now()
    actor, user_id = request_actor(request), request[SIGNED_IN_USER].id

    def work(connection: sa.Connection) -> None:
        for token_hash in hashes:
            sessions.end_session(connection, token_hash, now)
        audit.record_entries(connection, [audit.Entry(actor, Action.SESSION_END, public_id(USER, user_id))], now)

    await services.write(work)
    return success_response(request, {"message": "Signed out"})


@operation(response=User)
async def get_current_user(request: web.Request) -> web.Response:
    """Return the signed-in user."""
    return success_response(request, user_payload(request[SIGNED_IN_USER]))
