"""Commands about the money: prove it, stop it, compare it with Paystream's record, decide what nobody knows."""

from typing import Annotated

import typer

from shared.cli.client import commands as clients
from shared.cli.panels import INSTALLATION

commands = typer.Typer()

wallets = typer.Typer(help="Show or set a wallet's policy; let a frozen one pay again.")
commands.add_typer(wallets, name="wallet", rich_help_panel=INSTALLATION)

reconcile = typer.Typer(
    invoke_without_command=True,
    help="Compare our record with Paystream's, both ways: what differs becomes a case for a person. No money moves.",
    epilog="Exit codes: 0 no case is open, 1 some are, 2 it could not be made.",
)
commands.add_typer(reconcile, name="reconcile", rich_help_panel=INSTALLATION)


@commands.command(rich_help_panel=INSTALLATION)
def run_verification(
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
    from shared.cli.operator.verify import run_verification

    run_verification(invariant or [], organization, as_json=json, freeze=freeze)


@commands.command(rich_help_panel=INSTALLATION)
def pause_outgoing(
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
    from shared.cli.operator.outgoing_holds import pause_outgoing, print_holds

    if show:
        print_holds(as_json=json)
    else:
        pause_outgoing(organization, mode, rail, reason, everything=everything)


@commands.command(rich_help_panel=INSTALLATION)
def resume_outgoing(
    organization: Annotated[str | None, typer.Option(help="The organization's wallet that was paused.")] = None,
    mode: Annotated[str, typer.Option(help="Which of its wallets: sandbox or production.")] = "production",
    rail: Annotated[str | None, typer.Option(help="The rail that was paused.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="What was paused for all outgoing money.")] = False,
    reason: Annotated[str | None, typer.Option(help="Why it may go on; kept, and in the audit log.")] = None,
) -> None:
    """Let money leave again that `ovnpay pause` has stopped: what waited leaves at once, each payout once."""
    from shared.cli.operator.outgoing_holds import resume_outgoing

    resume_outgoing(organization, mode, rail, reason, everything=everything)


@wallets.callback(invoke_without_command=True)
def configure_wallet(
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
    from shared.cli.operator.database import configure_wallet

    if context.invoked_subcommand is None:
        if organization is None:
            raise typer.BadParameter("say which: --organization NAME")
        configure_wallet(organization, mode, duplicate_loads, low_balance)


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
    from shared.cli.operator.outgoing_holds import unfreeze_wallet

    unfreeze_wallet(organization, mode, wallet, reason, everything=everything)


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
        from shared.cli.operator.reconciliation import run_reconciliation

        run_reconciliation(since, until, mode, as_json=json)


@reconcile.command("cases")
def reconcile_cases(
    only_open: Annotated[bool, typer.Option("--open", help="Only those that are open.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print each case as one JSON line.")] = False,
) -> None:
    """List the cases, newest first."""
    from shared.cli.operator.reconciliation import print_cases

    print_cases(only_open=only_open, as_json=json)


@reconcile.command("close")
def reconcile_close(
    case_id: Annotated[str, typer.Argument(metavar="CASE", help="As in `case_…`.")],
    reason: Annotated[str, typer.Option(help="What you have found, for whoever comes after you.")],
    as_email: Annotated[
        str | None, typer.Option("--as", metavar="EMAIL", help="Who you are, by your password.")
    ] = None,
) -> None:
    """Close a case: somebody has looked at it. The same difference does not open it again."""
    from shared.cli.operator.reconciliation import close_case_by_hand

    close_case_by_hand(case_id, reason, as_email)


@commands.command("reconcile-only", rich_help_panel=INSTALLATION)
def reconcile_only(
    to: Annotated[str, typer.Argument(metavar="on|off", help="off is refused until Paystream's record was compared.")],
    reason: Annotated[str, typer.Option(help="Why.")],
    as_email: Annotated[
        str | None, typer.Option("--as", metavar="EMAIL", help="Who you are, by your password.")
    ] = None,
) -> None:
    """Stop every payment until our record was compared with Paystream's, or let them go again."""
    from shared.cli.operator.reconciliation import switch_reconcile_only

    switch_reconcile_only(to, reason, as_email)


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
    from shared.cli.operator.resolutions import record_decision

    record_decision(payout_id, outcome, reason, as_email)
