"""`ovnpay users`: create users, list them, reset a password."""

import secrets

from shared.cli.operator import fail_command
from shared.cli.operator.environment import open_database
from shared.identity import users
from shared.onboarding import organizations
from shared.platform.clock import SystemClock
from shared.platform.errors import DomainError
from shared.schema.organizations import Role


def create_user_with_password(email: str, organization: str, role: str, *, new: bool) -> None:
    """Create a user with a random password and print it; `new` creates the organization first."""
    if role not in list(Role):
        fail_command("users", f"there is no role {role!r}; use {', '.join(Role)}", 2)
    if "@" not in email:
        fail_command("users", f"{email!r} is not an email address", 2)
    password, now = secrets.token_urlsafe(16), SystemClock().now()
    with open_database() as (_, engine), engine.begin() as connection:
        organization_id = organizations.find_organization_id(connection, organization)
        if organization_id is not None and new:
            fail_command("users", f"the organization {organization!r} already exists; omit --new to add a user to it")
        if organization_id is None:
            if not new:
                fail_command("users", f"there is no organization {organization!r}; --new creates it")
            organization_id = organizations.create_organization(connection, organization, now)
        try:
            users.add_user(connection, organization_id, email, password, Role(role), now)
        except DomainError as error:
            fail_command("users", error.message)
    print(f"{email.lower()}  {role} of {organization}\npassword  {password}")


def print_users() -> None:
    """Print all users by organization."""
    with open_database() as (_, engine), engine.connect() as connection:
        rows = users.load_users(connection)
    for user in rows:
        print(f"{user.organization}  {user.role:9}  {user.email}  since {user.created_at:%Y-%m-%d}")


def replace_user_password(email: str) -> None:
    """Give a user a random password, end the user's sessions, and print the password."""
    password = secrets.token_urlsafe(16)
    with open_database() as (_, engine), engine.begin() as connection:
        try:
            users.reset_user_password(connection, email, password, SystemClock().now())
        except DomainError as error:
            fail_command("users", error.message)
    print(f"{email.lower()}\npassword  {password}\nthe user's sessions have ended")
