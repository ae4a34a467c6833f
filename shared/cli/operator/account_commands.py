"""Commands about who may call and sign in: users, keys, organizations."""

from typing import Annotated

import typer

from shared.cli.panels import INSTALLATION

commands = typer.Typer()

users = typer.Typer(no_args_is_help=True, help="Who may sign in: create, list, reset a password.")
commands.add_typer(users, name="users", rich_help_panel=INSTALLATION)

keys = typer.Typer(no_args_is_help=True, help="API keys of all organizations: list, limit, revoke one that has leaked.")
commands.add_typer(keys, name="keys", rich_help_panel=INSTALLATION)


@users.command("create")
def users_create(
    email: Annotated[str, typer.Argument(help="What the user signs in with.")],
    organization: Annotated[str, typer.Option(help="The organization's name.")],
    role: Annotated[str, typer.Option(help="owner, admin, developer or viewer.")] = "owner",
    new: Annotated[bool, typer.Option("--new", help="Open the organization first, with its two wallets.")] = False,
) -> None:
    """Create a user, and print the password: it is not shown again."""
    from shared.cli.operator.users import create_user_with_password

    create_user_with_password(email, organization, role, new=new)


@users.command("list")
def users_list() -> None:
    """List all users, by organization."""
    from shared.cli.operator.users import print_users

    print_users()


@users.command("reset-password")
def users_reset_password(email: Annotated[str, typer.Argument(help="Whose.")]) -> None:
    """Give a user another password, print it, and end all of his sessions."""
    from shared.cli.operator.users import replace_user_password

    replace_user_password(email)


@keys.command("list")
def keys_list(
    organization: Annotated[str | None, typer.Option(help="The organization's name; left out: all.")] = None,
) -> None:
    """List the keys that are not revoked, with their limits and when they were last used."""
    from shared.cli.operator.api_keys import print_api_keys

    print_api_keys(organization)


@keys.command("limit")
def keys_limit(
    key_id: Annotated[str, typer.Argument(help="As in `key_…`.")],
    per_minute: Annotated[
        int | None,
        typer.Option(min=1, max=1_000_000, help="Requests a minute; left out: as the installation's other keys."),
    ] = None,
) -> None:
    """Give a key a rate limit of its own, or the installation's again; it holds within seconds."""
    from shared.cli.operator.api_keys import limit_api_key

    limit_api_key(key_id, per_minute)


@keys.command("revoke")
def keys_revoke(key_id: Annotated[str, typer.Argument(help="As in `key_…`.")]) -> None:
    """Revoke a key for good."""
    from shared.cli.operator.api_keys import revoke_api_key

    revoke_api_key(key_id)


@keys.command("pepper")
def keys_pepper(
    seal: Annotated[
        bool, typer.Option("--seal", help="Seal customers' webhook secrets anew, under OVNPAY_KEY_PEPPER.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")] = False,
) -> None:
    """While the pepper is rotated: what still depends on OVNPAY_KEY_PEPPER_PREVIOUS. Exit 1 while something does.

    A key is hashed anew when it is used; deploy/runbooks/rotate-keys.md has the steps.
    """
    from shared.cli.operator.api_keys import print_pepper_rotation

    print_pepper_rotation(seal=seal, as_json=json)


@commands.command(rich_help_panel=INSTALLATION)
def configure_organization(
    name: Annotated[str, typer.Option(help="The organization's name.")],
    time_zone: Annotated[
        str | None,
        typer.Option(help="Where its days begin in analytics, as in America/Chicago. Left out: only shown."),
    ] = None,
) -> None:
    """Show or set an organization's time zone; its analytics are then counted by the new days."""
    from shared.cli.operator.database import configure_organization

    configure_organization(name, time_zone)
