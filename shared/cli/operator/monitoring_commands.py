"""Command line for the state of the installation: doctor, queues, dead, retention, audit."""

from typing import Annotated

import typer

from shared.cli.operator import INSTALLATION_PANEL

monitoring_app = typer.Typer()

dead_app = typer.Typer(
    no_args_is_help=True,
    help="Failed messages, and rows that need a person: list them, retry messages.",
)
monitoring_app.add_typer(dead_app, name="dead", rich_help_panel=INSTALLATION_PANEL)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@monitoring_app.command("queues", rich_help_panel=INSTALLATION_PANEL)
def queues(
    once: Annotated[bool, typer.Option("--once", help="Print once and exit, as when stdout is a pipe.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object and exit.")] = False,
) -> None:
    """Watch the queues until Ctrl-C: messages waiting, in flight and dead, consumers, and due rows.

    Works while Redis or the database is unreachable; exit code 2 if both are.
    """
    from shared.cli.operator.queues import print_queues

    print_queues(once=once, as_json=json)


@dead_app.command("list")
def dead_list(
    queue: Annotated[
        str | None, typer.Option(help="Only messages of this queue, e.g. payouts.", show_default=False)
    ] = None,
    json: AsJson = False,
) -> None:
    """List messages whose actor failed, and rows that need a person.

    A failed message loses nothing: its rows stay due, and the scheduler enqueues them again. Messages are kept for
    3 days, at most 200 for each queue.
    """
    from shared.cli.operator.dead_letters import print_dead_letters

    print_dead_letters(queue, as_json=json)


@dead_app.command("retry")
def dead_retry(
    letter_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Message id from `ovnpay dead list`.", show_default=False)
    ] = None,
    queue: Annotated[str | None, typer.Option(help="Retry every message of this queue.", show_default=False)] = None,
    everything: Annotated[bool, typer.Option("--all", help="Retry every message of every queue.")] = False,
) -> None:
    """Enqueue the rows of a failed message again and delete the message, atomically.

    Safe at any time: actors do only what is still due, so a payout is sent once however often it is enqueued.
    """
    from shared.cli.operator.dead_letters import retry_dead_letters

    retry_dead_letters(letter_id, queue, everything=everything)


@monitoring_app.command("doctor", rich_help_panel=INSTALLATION_PANEL)
def doctor(json: AsJson = False) -> None:
    """Check the installation, and say what is wrong and how to fix it. Exit code 1 if a check fails.

    It checks the settings, the database (role, grants, migrations, clock), Redis, the consumers of each queue, the
    scheduler, and Paystream, with one balance request for each key. It changes nothing.
    """
    from shared.cli.operator.doctor import run_doctor

    run_doctor(as_json=json)


@monitoring_app.command("retention", rich_help_panel=INSTALLATION_PANEL)
def retention(json: AsJson = False) -> None:
    """Show what is kept for how long and why, the number of rows, and when the next are deleted.

    The scheduler deletes every 10 minutes; this command changes nothing.
    """
    from shared.cli.operator.retention import print_retention

    print_retention(as_json=json)


@monitoring_app.command("audit", rich_help_panel=INSTALLATION_PANEL)
def audit(
    organization: Annotated[str, typer.Option(help='Organization name, e.g. "Demo Carrier".')],
    since: Annotated[
        str | None,
        typer.Option(
            help="Start time, e.g. 2026-01-31 or 2026-01-31T17:00:00Z. Default: 24 hours ago.", show_default=False
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print each entry as one JSON line.")] = False,
) -> None:
    """Show an organization's audit log, newest first: who did what to which object."""
    from shared.cli.operator.audit import print_audit_log

    print_audit_log(organization, since, as_json=json)
