"""Endpoints of sessions: sign in, sign out, who am I."""

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
    """A user as the API shows him."""
    return {"email": account.email, "role": account.role, "organization": account.organization}


class User(TypedDict):
    """Who is signed in."""

    email: Email
    role: Role
    organization: Annotated[str, Meta(examples=["Demo Carrier"])]


class SessionStarted(TypedDict):
    """A session; the token is shown once."""

    token: Annotated[str, Meta(examples=["ovnp_sess_…"])]
    expiresAt: Time
    user: User


@operation(body=Login, response=SessionStarted, error_codes=("INVALID_CREDENTIALS", "TOO_MANY_ATTEMPTS"))
async def login(request: web.Request, body: Login) -> web.Response:
    """Signs a user in.

    The token opens the developer and admin endpoints; it ends after two idle hours, or a day.
    """
    services = request.app[SERVICES]
    with services.sign_ins.slot(body.email.lower()):
        account = await _checked(request, body)
    now, actor = services.clock.now(), request_actor(request, account)

    def work(connection: sa.Connection) -> NewSession:
        audit.record_entries(connection, [audit.Entry(actor, Action.SESSION_START, public_id(USER, account.id))], now)
        return sessions.start_session(connection, account, services.settings.key_pepper, now)

    started = await services.write(work)
    return success_response(
        request,
        {"token": started.token, "expiresAt": format_rfc3339(started.expires_at), "user": user_payload(account)},
    )


async def _checked(request: web.Request, body: Login) -> SessionUser:
    """Whose email and password these are. The attempt is counted before the password is checked, and taken back where
    it was right, or was not checked at all.

    Raises:
        ApiError: they are wrong; too many were, of late; or too many are being checked.

    """
    services, limits = request.app[SERVICES], request.app[SERVICES].rate_limits
    account_name, address = body.email.lower(), str(request.remote)
    wait = await limits.count_sign_in(account_name, address)
    if wait is not None:
        raise ApiError(
            429,
            "TOO_MANY_ATTEMPTS",
            f"Too many failed sign-ins; wait {wait} s",
            headers={"Retry-After": str(wait)},
        )
    try:
        account, right = await _right(services, body)
    except Exception:
        await limits.undo_sign_in(account_name, address)
        raise
    if account is None or not right:
        logger.warning("sign_in.refused", request_id=request[REQUEST_ID], address=address)
        if account is not None:
            _note_refused(request, account)
        raise ApiError(401, "INVALID_CREDENTIALS", "The email or the password is wrong")
    await limits.undo_sign_in(account_name, address)
    return account


async def _right(services: Services, body: Login) -> tuple[SessionUser | None, bool]:
    """Whose email this is, and whether the password is his; that takes as long where it is nobody's."""
    found = await services.read(lambda connection: sessions.find_user_and_password_hash(connection, body.email))
    account, password_hash = found or (None, None)
    try:
        async with asyncio.timeout(PASSWORD_SECONDS_MAX):
            return account, await services.check_password(password_hash, body.password)
    except TimeoutError:
        raise ApiError(
            503, "SERVICE_UNAVAILABLE", "Too many sign-ins at once; try again", headers={"Retry-After": "1"}
        ) from None


def _note_refused(request: web.Request, account: SessionUser) -> None:
    """Notes a refused sign-in without its answer waiting: that must take as long for emails that nobody has."""
    services = request.app[SERVICES]
    now, nobody = services.clock.now(), request_actor(request, account)._replace(user_id=None)
    entry = audit.Entry(nobody, Action.SESSION_REFUSE, public_id(USER, account.id))
    services.write_in_background(lambda connection: audit.record_entries(connection, [entry], now))


@operation(response=Message)
async def logout(request: web.Request) -> web.Response:
    """Signs the user out: the token is refused from now on."""
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
    """Shows who is signed in."""
    return success_response(request, user_payload(request[SIGNED_IN_USER]))
