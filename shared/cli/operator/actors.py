"""Who types a command: a user who has named himself and proved it by his password, else an operator's login."""

import os
import uuid

import sqlalchemy as sa
import typer

from shared.identity import audit, sessions
from shared.identity.users import check_password
from shared.payouts.resolve import Reviewer
from shared.schema.organizations import Role

PASSWORD_VARIABLE = "OVNPAY_AS_PASSWORD"  # noqa: S105 a variable's name
DECIDING_ROLES = frozenset({Role.OWNER, Role.ADMIN})


class AuthenticationFailed(Exception):
    """The password is wrong, or this user may not decide."""


def identify_actor(engine: sa.Engine, email: str | None) -> Reviewer:
    """The person behind `--as`, without it the login and machine that the command runs on.

    Raises:
        NotProved: there is no such owner or admin, or the password is not his.

    """
    if email is None:
        return Reviewer(audit.operator_actor(uuid.UUID(int=0)).address or "?", None)
    with engine.connect() as connection:
        found = sessions.find_user_and_password_hash(connection, email)
    password = os.environ.get(PASSWORD_VARIABLE) or typer.prompt(f"password of {email}", hide_input=True, err=True)
    account, password_hash = found or (None, None)
    if not check_password(password_hash, password) or account is None:
        raise AuthenticationFailed(f"that is not the password of {email}")
    if account.role not in DECIDING_ROLES:
        raise AuthenticationFailed(f"{email} is {account.role}; an owner or an admin decides")
    return Reviewer(account.email, account.id)
