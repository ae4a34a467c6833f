"""The commands of `ovnpay`. Each imports what it needs when it runs, to keep `--help` fast."""

import os
import signal
import sys
from typing import Annotated, NoReturn

import typer

from shared.cli.client.commands import register_commands
from shared.cli.operator import INSTALLATION_PANEL
from shared.cli.operator.account_commands import account_app
from shared.cli.operator.money_commands import money_app
from shared.cli.operator.monitoring_commands import monitoring_app

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="OVN Pay: pay freight drivers once and on time, and account for every cent.",
)
register_commands(app)

PASS_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
"""Context of commands whose arguments another module parses."""


def _exec_module(module: str, *arguments: str) -> NoReturn:
    """Replace this process by the module's, which then receives signals directly."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])


@app.command(context_settings=PASS_THROUGH, rich_help_panel=INSTALLATION_PANEL)
def up(context: typer.Context) -> None:
    """Start the whole system on this machine: databases, provider simulator and all services."""
    _exec_module("deploy.local", "up", *context.args)


@app.command(context_settings=PASS_THROUGH, rich_help_panel=INSTALLATION_PANEL)
def down(context: typer.Context) -> None:
    """Stop the system that `up` started."""
    _exec_module("deploy.local", "down", *context.args)


@app.command(context_settings=PASS_THROUGH, rich_help_panel=INSTALLATION_PANEL)
def status(context: typer.Context) -> None:
    """Show the processes that `up` started: state, URL, uptime, memory."""
    _exec_module("deploy.local", "status", *context.args)


@app.command(context_settings=PASS_THROUGH, rich_help_panel=INSTALLATION_PANEL)
def simulator(context: typer.Context) -> None:
    """Run only the Paystream simulator."""
    _exec_module("deploy.simulator", *context.args)


@app.command(context_settings=PASS_THROUGH, rich_help_panel=INSTALLATION_PANEL)
def gateway(context: typer.Context) -> None:
    """Run the HTTP gateway."""
    _exec_module("gateway", *context.args)


@app.command(context_settings=PASS_THROUGH, rich_help_panel=INSTALLATION_PANEL)
def workers(context: typer.Context) -> None:
    """Run worker processes."""
    _exec_module("workers", *context.args)


@app.command(context_settings=PASS_THROUGH, rich_help_panel=INSTALLATION_PANEL)
def scheduler(context: typer.Context) -> None:
    """Run the scheduler."""
    _exec_module("scheduler", *context.args)


@app.command(context_settings=PASS_THROUGH, rich_help_panel=INSTALLATION_PANEL)
def exporter(context: typer.Context) -> None:
    """Run the exporter: metrics of the database and the queues."""
    _exec_module("shared.reporting.exporter", *context.args)


@app.command("migrate", rich_help_panel=INSTALLATION_PANEL)
def migrate() -> None:
    """Migrate the database to the schema of this version, as the role in OVNPAY_MIGRATION_DATABASE_URL."""
    from shared.cli.operator.installation import migrate_database

    migrate_database()


@app.command("bootstrap", rich_help_panel=INSTALLATION_PANEL)
def bootstrap(
    json: Annotated[bool, typer.Option("--json", help="Print the credentials as one JSON line.")] = False,
) -> None:
    """Migrate, and create a first organization with its wallets, owner and API keys."""
    from shared.cli.operator.installation import bootstrap_installation

    bootstrap_installation(as_json=json)


for group in (money_app, monitoring_app, account_app):
    app.add_typer(group)


def main() -> None:
    """Run `ovnpay`."""
    # A parent, such as a script that runs it in the background, may have left SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    app(prog_name="ovnpay")
