"""Commands on users."""

import secrets
import sys
from typing import NoReturn

from shared.cli.operator.database import open_database
from shared.identity import users
from shared.onboarding import organizations
from shared.platform.clock import SystemClock
from shared.platform.errors import DomainError
from shared.schema.organizations import Role


def _stop(sentence: str, code: int = 1) -> NoReturn:
    print(f"ovnpay users: {sentence}", file=sys.stderr)
    raise SystemExit(code)


def create_user_with_password(email: str, organization: str, role: str, *, new: bool) -> None:
    """Creates a user with a random password, and prints it."""
    if role not in list(Role):
        _stop(f"there is no role {role!r}; say {', '.join(Role)}", 2)
    if "@" not in email:
        _stop(f"{email!r} is no email address", 2)
    password, now = secrets.token_urlsafe(16), SystemClock().now()
    with open_database() as (_, engine), engine.begin() as connection:
        organization_id = organizations.find_organization_id(connection, organization)
        if organization_id is not None and new:
            _stop(f"there is an organization {organization!r} already; leave --new out to add to it")
        if organization_id is None:
            if not new:
                _stop(f"there is no organization {organization!r}; --new opens it")
            organization_id = organizations.create_organization(connection, organization, now)
        try:
            users.add_user(connection, organization_id, email, password, Role(role), now)
        except DomainError as refusal:
            _stop(refusal.message)
    print(f"{email.lower()}  {role} of {organization}\npassword  {password}")


def print_users() -> None:
    """Prints all users."""
    with open_database() as (_, engine), engine.connect() as connection:
        found = users.load_users(connection)
    for user in found:
        print(f"{user.organization}  {user.role:9}  {user.email}  since {user.created_at:%Y-%m-%d}")


def replace_user_password(email: str) -> None:
    """Gives a user a random password, and prints it."""
    password = secrets.token_urlsafe(16)
    with open_database() as (_, engine), engine.begin() as connection:
        try:
            users.reset_user_password(connection, email, password, SystemClock().now())
        except DomainError as refusal:
            _stop(refusal.message)
    print(f"{email.lower()}\npassword  {password}\nall of the user's sessions are over")
