"""Who types a command: a user who has named himself and proved it by his password, else an operator's login."""

import os
import uuid

import sqlalchemy as sa
import typer

from shared.identity import audit, sessions
from shared.identity.passwords import check_password
from shared.payouts.resolve import Person
from shared.schema.organizations import Role

PASSWORD_VARIABLE = "OVNPAY_AS_PASSWORD"  # noqa: S105 a variable's name
MAY_DECIDE = frozenset({Role.OWNER, Role.ADMIN})


class NotProved(Exception):
    """The password is wrong, or this user may not decide."""


def person(engine: sa.Engine, email: str | None) -> Person:
    """The person behind `--as`, without it the login and machine that the command runs on.

    Raises:
        NotProved: there is no such owner or admin, or the password is not his.

    """
    if email is None:
        return Person(audit.operator(uuid.UUID(int=0)).address or "?", None)
    with engine.connect() as connection:
        found = sessions.find_account(connection, email)
    password = os.environ.get(PASSWORD_VARIABLE) or typer.prompt(f"password of {email}", hide_input=True, err=True)
    account, password_hash = found or (None, None)
    if not check_password(password_hash, password) or account is None:
        raise NotProved(f"that is not the password of {email}")
    if account.role not in MAY_DECIDE:
        raise NotProved(f"{email} is {account.role}; an owner or an admin decides")
    return Person(account.email, account.id)
