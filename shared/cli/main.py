"""The command's table of contents. What a command needs is imported when it runs, so `--help` is quick."""

import os
import sys
from typing import Annotated, NoReturn

import typer

from shared.cli.client import commands as clients
from shared.cli.operator import account_commands, money_commands, monitoring_commands
from shared.cli.panels import INSTALLATION

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="OVN Pay: pay freight drivers once, on time, and see where each cent is.",
)
clients.register_commands(app)

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


@app.command(context_settings=PASS_ON, rich_help_panel=INSTALLATION)
def exporter(context: typer.Context) -> None:
    """Run the exporter: what is in the database and the queues, as metrics."""
    _hand_over("shared.reporting.exporter", *context.args)


@app.command(rich_help_panel=INSTALLATION)
def migrate() -> None:
    """Bring the database's tables to this version of the code."""
    from shared.cli.operator.database import migrate

    migrate()


@app.command(rich_help_panel=INSTALLATION)
def bootstrap(
    json: Annotated[bool, typer.Option("--json", help="Print the credentials as one JSON line.")] = False,
) -> None:
    """Migrate, and make sure that a first organization with its wallets, owner and keys exists."""
    from shared.cli.operator.database import bootstrap

    bootstrap(as_json=json)


for commands in (money_commands, monitoring_commands, account_commands):
    app.add_typer(commands.commands)


def main() -> None:
    """The entry point."""
    app(prog_name="ovnpay")
