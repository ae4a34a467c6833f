"""The command's table of contents. What a command needs is imported when it runs, so `--help` is quick."""

import os
import sys
from typing import Annotated, NoReturn

import typer

from shared.cli import clients

INSTALLATION = "The installation (needs its database or its processes)"

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="OVN Pay: pay freight drivers once, on time, and see where each cent is.",
)

users = typer.Typer(no_args_is_help=True, help="Who may sign in: create, list, reset a password.")
clients.add_to(app)
app.add_typer(users, name="users", rich_help_panel=INSTALLATION)

keys = typer.Typer(no_args_is_help=True, help="API keys of all organizations: list, limit, revoke one that has leaked.")
app.add_typer(keys, name="keys", rich_help_panel=INSTALLATION)

PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def _hand_over(module: str, *arguments: str) -> NoReturn:
    """Becomes another module's process: no parent in between, signals reach it directly."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])


@app.command(context_settings=PASS_ON, rich_help_panel=INSTALLATION)
def up(context: typer.Context) -> None:
    """Start the whole system on this machine: databases, provider simulator and all services."""
    _hand_over("deploy.local", "up", *context.args)


@app.command(context_settings=PASS_ON, rich_help_panel=INSTALLATION)
def down(context: typer.Context) -> None:
    """Stop the system that `up` started."""
    _hand_over("deploy.local", "down", *context.args)


@app.command(context_settings=PASS_ON, rich_help_panel=INSTALLATION)
def status(context: typer.Context) -> None:
    """Show what runs, where, and how much memory it takes."""
    _hand_over("deploy.local", "status", *context.args)


@app.command(context_settings=PASS_ON, rich_help_panel=INSTALLATION)
def simulator(context: typer.Context) -> None:
    """Run the Paystream simulator alone."""
    _hand_over("deploy.simulator", *context.args)


@app.command(context_settings=PASS_ON, rich_help_panel=INSTALLATION)
def gateway(context: typer.Context) -> None:
    """Run the HTTP gateway."""
    _hand_over("gateway", *context.args)


@app.command(context_settings=PASS_ON, rich_help_panel=INSTALLATION)
def workers(context: typer.Context) -> None:
    """Run worker processes."""
    _hand_over("workers", *context.args)


@app.command(context_settings=PASS_ON, rich_help_panel=INSTALLATION)
def scheduler(context: typer.Context) -> None:
    """Run the scheduler."""
    _hand_over("scheduler", *context.args)


@app.command(rich_help_panel=INSTALLATION)
def migrate() -> None:
    """Bring the database's tables to this version of the code."""
    from shared.cli.database import migrate

    migrate()


@app.command(rich_help_panel=INSTALLATION)
def bootstrap(
    json: Annotated[bool, typer.Option("--json", help="Print the credentials as one JSON line.")] = False,
) -> None:
    """Migrate, and make sure that a first organization with its wallets, owner and keys exists."""
    from shared.cli.database import bootstrap

    bootstrap(as_json=json)


@app.command(rich_help_panel=INSTALLATION)
def verify() -> None:
    """Prove the ledger: exit 1 and a plain explanation if any wallet breaks one of its laws."""
    from shared.cli.database import verify

    verify()


@app.command(rich_help_panel=INSTALLATION)
def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check the whole installation, and say in plain words what is wrong and how to mend it. Exit 1 if something fails.

    It looks at the settings, the database (role, rights, migrations, clock), Redis, who hears the queues, the scheduler
    and Paystream, of which it asks its balance once with each key. It changes nothing.
    """
    from shared.cli.doctor import doctor

    doctor(as_json=json)


@users.command("create")
def users_create(
    email: Annotated[str, typer.Argument(help="What the user signs in with.")],
    organization: Annotated[str, typer.Option(help="The organization's name.")],
    role: Annotated[str, typer.Option(help="owner, admin, developer or viewer.")] = "owner",
    new: Annotated[bool, typer.Option("--new", help="Open the organization first, with its two wallets.")] = False,
) -> None:
    """Create a user, and print the password: it is not shown again."""
    from shared.cli.people import create

    create(email, organization, role, new=new)


@users.command("list")
def users_list() -> None:
    """List all users, by organization."""
    from shared.cli.people import show

    show()


@users.command("reset-password")
def users_reset_password(email: Annotated[str, typer.Argument(help="Whose.")]) -> None:
    """Give a user another password, print it, and end all of his sessions."""
    from shared.cli.people import reset_password

    reset_password(email)


@keys.command("list")
def keys_list(
    organization: Annotated[str | None, typer.Option(help="The organization's name; left out: all.")] = None,
) -> None:
    """List the keys that are not revoked, with their limits and when they were last used."""
    from shared.cli.api_keys import listed

    listed(organization)


@keys.command("limit")
def keys_limit(
    key_id: Annotated[str, typer.Argument(help="As in `key_…`.")],
    per_minute: Annotated[
        int | None,
        typer.Option(min=1, max=1_000_000, help="Requests a minute; left out: as the installation's other keys."),
    ] = None,
) -> None:
    """Give a key a rate limit of its own, or the installation's again; it holds within seconds."""
    from shared.cli.api_keys import limit

    limit(key_id, per_minute)


@keys.command("revoke")
def keys_revoke(key_id: Annotated[str, typer.Argument(help="As in `key_…`.")]) -> None:
    """Revoke a key for good."""
    from shared.cli.api_keys import revoke

    revoke(key_id)


@app.command(rich_help_panel=INSTALLATION)
def wallet(
    organization: Annotated[str, typer.Option(help="The organization's name.")],
    mode: Annotated[str, typer.Option(help="sandbox or production.")] = "production",
    duplicate_loads: Annotated[
        str | None,
        typer.Option(help="What happens to a second payout for a driver's load: warn or refuse. Left out: only shown."),
    ] = None,
    low_balance: Annotated[
        int | None,
        typer.Option(min=0, metavar="CENTS", help="The event balance.low tells when available falls below; 0: never."),
    ] = None,
) -> None:
    """Show or set a wallet's policy: whether a driver can be paid twice for one load, and when its balance is low."""
    from shared.cli.database import wallet

    wallet(organization, mode, duplicate_loads, low_balance)


@app.command(rich_help_panel=INSTALLATION)
def audit(
    organization: Annotated[str, typer.Option(help="The organization's name.")],
    since: Annotated[
        str | None, typer.Option(help="From when on, as in 2026-01-31 or 2026-01-31T17:00:00Z. Left out: the last day.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print each entry as one JSON line.")] = False,
) -> None:
    """Show an organization's audit log, newest first: who did what to which object."""
    from shared.cli.audit import show

    show(organization, since, as_json=json)


@app.command(rich_help_panel=INSTALLATION)
def organization(
    name: Annotated[str, typer.Option(help="The organization's name.")],
    time_zone: Annotated[
        str | None,
        typer.Option(help="Where its days begin in analytics, as in America/Chicago. Left out: only shown."),
    ] = None,
) -> None:
    """Show or set an organization's time zone; its analytics are then counted by the new days."""
    from shared.cli.database import organization

    organization(name, time_zone)


def main() -> None:
    """The entry point."""
    app(prog_name="ovnpay")
