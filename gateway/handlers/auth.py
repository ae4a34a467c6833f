"""Endpoints of sessions: sign in, sign out, who am I."""

import asyncio
from typing import Annotated, Any

import msgspec
from aiohttp import web

from gateway import shapes
from gateway.envelope import ApiError
from gateway.handlers.common import success
from gateway.operation import operation
from gateway.state import ACCOUNT, SERVICES, SESSION_TOKEN
from shared import keys, sessions
from shared.clock import rfc3339
from shared.sessions import Account

PASSWORD_SECONDS_MAX = 5.0


class Login(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /auth/login`."""

    email: Annotated[str, msgspec.Meta(min_length=1, max_length=254, examples=["owner@demo-carrier.example"])]
    password: Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]


def user(account: Account) -> dict[str, Any]:
    """A user as the API shows him."""
    return {"email": account.email, "role": account.role, "organization": account.organization}


@operation(body=Login, answer=shapes.SessionStarted, refuses=("INVALID_CREDENTIALS", "TOO_MANY_ATTEMPTS"))
async def login(request: web.Request, body: Login) -> web.Response:
    """Signs a user in.

    The token opens the developer and admin endpoints; it ends after two idle hours, or a day.
    """
    services = request.app[SERVICES]
    account_name, address = body.email.lower(), str(request.remote)
    wait = await services.rate_limits.failed_before(account_name, address)
    if wait is not None:
        raise ApiError(
            429,
            "TOO_MANY_ATTEMPTS",
            f"Too many failed sign-ins; wait {wait} s",
            headers={"Retry-After": str(wait)},
        )
    found = await services.read(lambda connection: sessions.find_account(connection, body.email))
    password_hash = None if found is None else found[1]
    try:
        async with asyncio.timeout(PASSWORD_SECONDS_MAX):
            right = await services.check_password(password_hash, body.password)
    except TimeoutError:
        raise ApiError(
            503, "SERVICE_UNAVAILABLE", "Too many sign-ins at once; try again", headers={"Retry-After": "1"}
        ) from None
    if found is None or not right:
        await services.rate_limits.failed(account_name, address)
        raise ApiError(401, "INVALID_CREDENTIALS", "The email or the password is wrong")
    account, now = found[0], services.clock.now()
    started = await services.write(
        lambda connection: sessions.start(connection, account, services.settings.key_pepper, now)
    )
    return success(request, {"token": started.token, "expiresAt": rfc3339(started.expires_at), "user": user(account)})


@operation(answer=shapes.Message)
async def logout(request: web.Request) -> web.Response:
    """Signs the user out: the token is refused from now on."""
    services = request.app[SERVICES]
    token_hash, now = keys.hashed(request[SESSION_TOKEN], services.settings.key_pepper), services.clock.now()
    await services.write(lambda connection: sessions.end(connection, token_hash, now))
    return success(request, {"message": "Signed out"})


@operation(answer=shapes.User)
async def me(request: web.Request) -> web.Response:
    """Shows who is signed in."""
    return success(request, user(request[ACCOUNT]))
