"""Command line for access: users, API keys, organizations."""

from typing import Annotated

import typer

from shared.cli.operator import INSTALLATION_PANEL

account_app = typer.Typer()

users_app = typer.Typer(no_args_is_help=True, help="Users who sign in: create, list, reset a password.")
account_app.add_typer(users_app, name="users", rich_help_panel=INSTALLATION_PANEL)

keys_app = typer.Typer(
    no_args_is_help=True, help="API keys of all organizations: list, limit, revoke; rotate the pepper."
)
account_app.add_typer(keys_app, name="keys", rich_help_panel=INSTALLATION_PANEL)

KeyId = Annotated[str, typer.Argument(help="Key id, key_….")]


@users_app.command("create")
def users_create(
    email: Annotated[str, typer.Argument(help="Email address to sign in with.")],
    organization: Annotated[str, typer.Option(help="Organization name.")],
    role: Annotated[str, typer.Option(help="owner, admin, developer or viewer.")] = "owner",
    new: Annotated[bool, typer.Option("--new", help="Create the organization and its two wallets first.")] = False,
) -> None:
    """Create a user and print the password, which is not shown again.

    Example: ovnpay users create ann@carrier.example --organization "Ann's Carrier" --new
    """
    from shared.cli.operator.users import create_user_with_password

    create_user_with_password(email, organization, role, new=new)


@users_app.command("list")
def users_list() -> None:
    """List all users by organization."""
    from shared.cli.operator.users import print_users

    print_users()


@users_app.command("reset-password")
def users_reset_password(email: Annotated[str, typer.Argument(help="Email address of the user.")]) -> None:
    """Give a user a new password, print it, and end the user's sessions."""
    from shared.cli.operator.users import replace_user_password

    replace_user_password(email)


@keys_app.command("list")
def keys_list(
    organization: Annotated[
        str | None, typer.Option(help="Only keys of this organization. Default: all.", show_default=False)
    ] = None,
) -> None:
    """List keys that are not revoked, with their rate limit and last use."""
    from shared.cli.operator.api_keys import print_api_keys

    print_api_keys(organization)


@keys_app.command("limit")
def keys_limit(
    key_id: KeyId,
    per_minute: Annotated[
        int | None,
        typer.Option(
            min=1, max=1_000_000, help="Requests per minute. Default: the installation's limit.", show_default=False
        ),
    ] = None,
) -> None:
    """Set the rate limit of a key, or reset it to the installation's. It applies within seconds."""
    from shared.cli.operator.api_keys import limit_api_key

    limit_api_key(key_id, per_minute)


@keys_app.command("revoke")
def keys_revoke(key_id: KeyId) -> None:
    """Revoke a key permanently. Gateways reject it within 2 seconds."""
    from shared.cli.operator.api_keys import revoke_api_key

    revoke_api_key(key_id)


@keys_app.command("pepper")
def keys_pepper(
    seal: Annotated[
        bool, typer.Option("--seal", help="Encrypt customers' webhook secrets again under OVNPAY_KEY_PEPPER.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """During a pepper rotation: show what still depends on OVNPAY_KEY_PEPPER_PREVIOUS. Exit code 1 if anything does.

    A key is hashed again when it is used. The steps are in deploy/runbooks/rotate-keys.md.
    """
    from shared.cli.operator.api_keys import print_pepper_rotation

    print_pepper_rotation(seal=seal, as_json=json)


@account_app.command("organization", rich_help_panel=INSTALLATION_PANEL)
def organization(
    name: Annotated[str, typer.Option(help="Organization name.")],
    time_zone: Annotated[
        str | None,
        typer.Option(help="New time zone, e.g. America/Chicago. Default: only show it.", show_default=False),
    ] = None,
) -> None:
    """Show or change an organization's time zone. A change recalculates its analytics by the new days."""
    from shared.cli.operator.organizations import configure_organization

    configure_organization(name, time_zone)
