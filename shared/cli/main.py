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

wallets = typer.Typer(help="Show or set a wallet's policy; let a frozen one pay again.")
app.add_typer(wallets, name="wallet", rich_help_panel=INSTALLATION)
reconcile = typer.Typer(
    invoke_without_command=True,
    help="Compare our record with Paystream's, both ways: what differs becomes a case for a person. No money moves.",
    epilog="Exit codes: 0 no case is open, 1 some are, 2 it could not be made.",
)
app.add_typer(reconcile, name="reconcile", rich_help_panel=INSTALLATION)

dead = typer.Typer(
    no_args_is_help=True,
    help="What failed, and what waits for a person: list it, ring again for it.",
)
app.add_typer(dead, name="dead", rich_help_panel=INSTALLATION)

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
    _hand_over("shared.exporter", *context.args)


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
def verify(
    invariant: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this invariant; may be given several times.")
    ] = None,
    organization: Annotated[str | None, typer.Option(help="Only the wallets of this organization.")] = None,
    freeze: Annotated[
        bool, typer.Option("--freeze/--no-freeze", help="Whether a break stops the wallet's outgoing money.")
    ] = True,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")] = False,
) -> None:
    """Prove every invariant of the money: exit 1 and a plain explanation if one is broken.

    Everything is looked at, while the system works, in portions that each see one moment; `--json` has one entry for
    each invariant with its `breaks`. A break freezes the outgoing money of the wallet that it is about, or of all where
    nobody can say which: nothing more leaves for Paystream until `ovnpay wallet unfreeze --reason ...`. Exit codes:
    0 all hold, 1 one is broken, 2 nothing was proved.
    """
    from shared.cli.verify import verify

    verify(invariant or [], organization, as_json=json, freeze=freeze)


@app.command(rich_help_panel=INSTALLATION)
def queues(
    once: Annotated[bool, typer.Option("--once", help="Show it once, as on a pipe.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead, once.")] = False,
) -> None:
    """Watch the queues: what waits, is in flight or dead, who listens, and which rows are due; until Ctrl-C.

    Works while Redis or the database is away, and says so; exit 2 if both are.
    """
    from shared.cli.queues import queues

    queues(once=once, as_json=json)


@dead.command("list")
def dead_list(
    queue: Annotated[str | None, typer.Option(help="Only this queue's messages.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")] = False,
) -> None:
    """List messages whose actor failed, with how many of their rows still wait, and rows that wait for a person.

    A dead message loses nothing: its rows are due by themselves, and the tick has rung for them again. Messages are
    kept for three days, 200 of a queue.
    """
    from shared.cli.dead import listed

    listed(queue, as_json=json)


@dead.command("retry")
def dead_retry(
    letter_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="As `ovnpay dead list` shows it.")] = None,
    queue: Annotated[str | None, typer.Option(help="All of this queue.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of every queue.")] = False,
) -> None:
    """Ring again for the rows of a dead message, and take it away: in one step, so that it is never lost.

    Safe at any time: an actor looks what is left to do, and a payout leaves once however often it is rung for.
    """
    from shared.cli.dead import retry

    retry(letter_id, queue, everything=everything)


@app.command(rich_help_panel=INSTALLATION)
def retention(
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")] = False,
) -> None:
    """Show what is kept how long and why, how much there is of it, and when the next of it goes.

    A scheduler forgets by itself, every ten minutes; this changes nothing.
    """
    from shared.cli.retention import show

    show(as_json=json)


@reconcile.callback()
def reconcile_now(
    context: typer.Context,
    since: Annotated[
        str | None, typer.Option(help="From when on, as in 2026-01-31. Left out: yesterday, and 5 days before it.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Until when, that day included. Left out: now.")] = None,
    mode: Annotated[str | None, typer.Option(help="sandbox or production. Left out: both.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Compare our record with Paystream's, both ways: what differs becomes a case for a person. No money moves."""
    if context.invoked_subcommand is None:
        from shared.cli.reconciling import compare

        compare(since, until, mode, as_json=json)


@reconcile.command("cases")
def reconcile_cases(
    only_open: Annotated[bool, typer.Option("--open", help="Only those that are open.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print each case as one JSON line.")] = False,
) -> None:
    """List the cases, newest first."""
    from shared.cli.reconciling import listed

    listed(only_open=only_open, as_json=json)


@reconcile.command("close")
def reconcile_close(
    case_id: Annotated[str, typer.Argument(metavar="CASE", help="As in `case_…`.")],
    reason: Annotated[str, typer.Option(help="What you have found, for whoever comes after you.")],
    as_email: Annotated[
        str | None, typer.Option("--as", metavar="EMAIL", help="Who you are, by your password.")
    ] = None,
) -> None:
    """Close a case: somebody has looked at it. The same difference does not open it again."""
    from shared.cli.reconciling import close

    close(case_id, reason, as_email)


@app.command("reconcile-only", rich_help_panel=INSTALLATION)
def reconcile_only(
    to: Annotated[str, typer.Argument(metavar="on|off", help="off is refused until Paystream's record was compared.")],
    reason: Annotated[str, typer.Option(help="Why.")],
    as_email: Annotated[
        str | None, typer.Option("--as", metavar="EMAIL", help="Who you are, by your password.")
    ] = None,
) -> None:
    """Stop every payment until our record was compared with Paystream's, or let them go again."""
    from shared.cli.reconciling import switch

    switch(to, reason, as_email)


@clients.payouts.command("resolve", rich_help_panel="On the installation's database, no key needed")
def payouts_resolve(
    payout_id: Annotated[str, typer.Argument(metavar="ID", help="The payout's id, pay_….")],
    outcome: Annotated[str, typer.Option(help="paid or not-paid, as Paystream has told you.")],
    reason: Annotated[str, typer.Option(help="How you know.")],
    as_email: Annotated[
        str | None,
        typer.Option("--as", metavar="EMAIL", help="Who you are, by your password; needed in production."),
    ] = None,
) -> None:
    """Say what became of a payout whose end nobody knows; in production two different people have to say the same.

    Only for what is unknown past its key's lifetime at Paystream, or held: the rest ends by itself. The password is
    asked for, or taken from OVNPAY_AS_PASSWORD.
    """
    from shared.cli.resolving import resolve

    resolve(payout_id, outcome, reason, as_email)


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
    from shared.cli.api_keys import pepper

    pepper(seal=seal, as_json=json)


@wallets.callback(invoke_without_command=True)
def wallet(
    context: typer.Context,
    organization: Annotated[str | None, typer.Option(help="The organization's name.")] = None,
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

    if context.invoked_subcommand is None:
        if organization is None:
            raise typer.BadParameter("say which: --organization NAME")
        wallet(organization, mode, duplicate_loads, low_balance)


@wallets.command("unfreeze")
def wallet_unfreeze(
    reason: Annotated[str, typer.Option(help="Why its money may leave again; kept, and in the audit log.")],
    organization: Annotated[str | None, typer.Option(help="The organization's name.")] = None,
    mode: Annotated[str, typer.Option(help="sandbox or production.")] = "production",
    wallet: Annotated[str | None, typer.Option(help="The wallet itself, as in `wallet_…`.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="What was frozen for everybody.")] = False,
) -> None:
    """Let a wallet's money leave again that a broken invariant has frozen.

    Mend what `ovnpay verify` explains first: what is still broken freezes the wallet again at its next proof.
    """
    from shared.cli.outgoing import unfreeze

    unfreeze(organization, mode, wallet, reason, everything=everything)


@app.command(rich_help_panel=INSTALLATION)
def pause(
    organization: Annotated[str | None, typer.Option(help="Only this organization's wallet.")] = None,
    mode: Annotated[str, typer.Option(help="Which of its wallets: sandbox or production.")] = "production",
    rail: Annotated[str | None, typer.Option(help="Only this rail: standard, same_day or instant.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All outgoing money.")] = False,
    reason: Annotated[str | None, typer.Option(help="Why; for whoever finds it paused.")] = None,
    show: Annotated[bool, typer.Option("--list", help="Only show what is held, paused or frozen.")] = False,
    json: Annotated[bool, typer.Option("--json", help="With --list: as one JSON line.")] = False,
) -> None:
    """Stop outgoing money: within 2 seconds nothing new leaves for Paystream, what is queued already included.

    Payouts are still accepted, reserved and queued, batches released; they wait, and leave when you `ovnpay resume`.
    What Paystream has already runs its course, and it is still asked how payments stand.
    """
    from shared.cli.outgoing import listed, pause

    if show:
        listed(as_json=json)
    else:
        pause(organization, mode, rail, reason, everything=everything)


@app.command(rich_help_panel=INSTALLATION)
def resume(
    organization: Annotated[str | None, typer.Option(help="The organization's wallet that was paused.")] = None,
    mode: Annotated[str, typer.Option(help="Which of its wallets: sandbox or production.")] = "production",
    rail: Annotated[str | None, typer.Option(help="The rail that was paused.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="What was paused for all outgoing money.")] = False,
    reason: Annotated[str | None, typer.Option(help="Why it may go on; kept, and in the audit log.")] = None,
) -> None:
    """Let money leave again that `ovnpay pause` has stopped: what waited leaves at once, each payout once."""
    from shared.cli.outgoing import resume

    resume(organization, mode, rail, reason, everything=everything)


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
