"""Commands that look at the installation: its health, its queues, what failed, what is kept, who did what."""

from typing import Annotated

import typer

from shared.cli.panels import INSTALLATION

commands = typer.Typer()

dead = typer.Typer(
    no_args_is_help=True,
    help="What failed, and what waits for a person: list it, ring again for it.",
)
commands.add_typer(dead, name="dead", rich_help_panel=INSTALLATION)


@commands.command(rich_help_panel=INSTALLATION)
def print_queues(
    once: Annotated[bool, typer.Option("--once", help="Show it once, as on a pipe.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead, once.")] = False,
) -> None:
    """Watch the queues: what waits, is in flight or dead, who listens, and which rows are due; until Ctrl-C.

    Works while Redis or the database is away, and says so; exit 2 if both are.
    """
    from shared.cli.operator.queues import print_queues

    print_queues(once=once, as_json=json)


@dead.command("list")
def dead_list(
    queue: Annotated[str | None, typer.Option(help="Only this queue's messages.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")] = False,
) -> None:
    """List messages whose actor failed, with how many of their rows still wait, and rows that wait for a person.

    A dead message loses nothing: its rows are due by themselves, and the tick has rung for them again. Messages are
    kept for three days, 200 of a queue.
    """
    from shared.cli.operator.dead_letters import print_dead_letters

    print_dead_letters(queue, as_json=json)


@dead.command("retry")
def dead_retry(
    letter_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="As `ovnpay dead list` shows it.")] = None,
    queue: Annotated[str | None, typer.Option(help="All of this queue.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of every queue.")] = False,
) -> None:
    """Ring again for the rows of a dead message, and take it away: in one step, so that it is never lost.

    Safe at any time: an actor looks what is left to do, and a payout leaves once however often it is rung for.
    """
    from shared.cli.operator.dead_letters import retry_dead_letters

    retry_dead_letters(letter_id, queue, everything=everything)


@commands.command(rich_help_panel=INSTALLATION)
def run_doctor(
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check the whole installation, and say in plain words what is wrong and how to mend it. Exit 1 if something fails.

    It looks at the settings, the database (role, rights, migrations, clock), Redis, who hears the queues, the scheduler
    and Paystream, of which it asks its balance once with each key. It changes nothing.
    """
    from shared.cli.operator.doctor import run_doctor

    run_doctor(as_json=json)


@commands.command(rich_help_panel=INSTALLATION)
def retention(
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")] = False,
) -> None:
    """Show what is kept how long and why, how much there is of it, and when the next of it goes.

    A scheduler forgets by itself, every ten minutes; this changes nothing.
    """
    from shared.cli.operator.retention import print_retention

    print_retention(as_json=json)


@commands.command(rich_help_panel=INSTALLATION)
def audit(
    organization: Annotated[str, typer.Option(help="The organization's name.")],
    since: Annotated[
        str | None, typer.Option(help="From when on, as in 2026-01-31 or 2026-01-31T17:00:00Z. Left out: the last day.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print each entry as one JSON line.")] = False,
) -> None:
    """Show an organization's audit log, newest first: who did what to which object."""
    from shared.cli.operator.audit import print_audit_log

    print_audit_log(organization, since, as_json=json)
