"""The actor of a command: a signed-in user, else the login on this machine."""

import os
import uuid

import sqlalchemy as sa
import typer

from shared.identity import audit, sessions
from shared.identity.users import check_password
from shared.payouts.resolve import Reviewer
from shared.schema.organizations import Role

PASSWORD_VARIABLE = "OVNPAY_AS_PASSWORD"  # noqa: S105 the name of a variable
DECIDING_ROLES = frozenset({Role.OWNER, Role.ADMIN})


class AuthenticationFailed(Exception):
    """The password is wrong, or the user's role may not decide."""


def identify_actor(engine: sa.Engine, email: str | None) -> Reviewer:
    """Return the user of `--as` after checking the password; without `--as`, the login and machine name.

    Raises:
        AuthenticationFailed: the user does not exist, is not an owner or admin, or the password is wrong.

    """
    if email is None:
        return Reviewer(operator_login(), None)
    with engine.connect() as connection:
        row = sessions.find_user_and_password_hash(connection, email)
    password = os.environ.get(PASSWORD_VARIABLE) or typer.prompt(f"password of {email}", hide_input=True, err=True)
    account, password_hash = row or (None, None)
    if not check_password(password_hash, password) or account is None:
        raise AuthenticationFailed(f"wrong email or password: {email}")
    if account.role not in DECIDING_ROLES:
        raise AuthenticationFailed(f"{email} is {account.role}; only an owner or an admin may decide")
    return Reviewer(account.email, account.id)


def operator_login() -> str:
    """Return login and machine, as the audit log records them."""
    return audit.operator_actor(uuid.UUID(int=0)).address or "?"
