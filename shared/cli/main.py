"""The command's table of contents. What a command needs is imported when it runs, so `--help` is quick."""

import os
import sys
from typing import Annotated, NoReturn

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="OVN Pay: pay freight drivers once, on time, and see where each cent is.",
)

users = typer.Typer(no_args_is_help=True, help="Who may sign in: create, list, reset a password.")
app.add_typer(users, name="users")

PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def _hand_over(module: str, *arguments: str) -> NoReturn:
    """Becomes another module's process: no parent in between, signals reach it directly."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])


@app.command(context_settings=PASS_ON)
def up(context: typer.Context) -> None:
    """Start the whole system on this machine: databases, provider simulator and all services."""
    _hand_over("deploy.local", "up", *context.args)


@app.command(context_settings=PASS_ON)
def down(context: typer.Context) -> None:
    """Stop the system that `up` started."""
    _hand_over("deploy.local", "down", *context.args)


@app.command(context_settings=PASS_ON)
def status(context: typer.Context) -> None:
    """Show what runs, where, and how much memory it takes."""
    _hand_over("deploy.local", "status", *context.args)


@app.command(context_settings=PASS_ON)
def simulator(context: typer.Context) -> None:
    """Run the Paystream simulator alone."""
    _hand_over("deploy.simulator", *context.args)


@app.command(context_settings=PASS_ON)
def gateway(context: typer.Context) -> None:
    """Run the HTTP gateway."""
    _hand_over("gateway", *context.args)


@app.command(context_settings=PASS_ON)
def workers(context: typer.Context) -> None:
    """Run worker processes."""
    _hand_over("workers", *context.args)


@app.command(context_settings=PASS_ON)
def scheduler(context: typer.Context) -> None:
    """Run the scheduler."""
    _hand_over("scheduler", *context.args)


@app.command()
def migrate() -> None:
    """Bring the database's tables to this version of the code."""
    from shared.cli.database import migrate

    migrate()


@app.command()
def bootstrap(
    json: Annotated[bool, typer.Option("--json", help="Print the credentials as one JSON line.")] = False,
) -> None:
    """Migrate, and make sure that a first organization with its wallets, owner and keys exists."""
    from shared.cli.database import bootstrap

    bootstrap(as_json=json)


@app.command()
def verify() -> None:
    """Prove the ledger: exit 1 and a plain explanation if any wallet breaks one of its laws."""
    from shared.cli.database import verify

    verify()


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


@app.command()
def wallet(
    organization: Annotated[str, typer.Option(help="The organization's name.")],
    mode: Annotated[str, typer.Option(help="sandbox or production.")] = "production",
    duplicate_loads: Annotated[
        str | None,
        typer.Option(help="What happens to a second payout for a driver's load: warn or refuse. Left out: only shown."),
    ] = None,
) -> None:
    """Show or set a wallet's policy: whether a driver can be paid twice for one load."""
    from shared.cli.database import wallet

    wallet(organization, mode, duplicate_loads)


@app.command()
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
