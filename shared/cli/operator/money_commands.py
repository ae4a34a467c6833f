"""Command line for the safety of money: verify, pause, resume, wallet, reconcile, reconcile-only, payouts resolve."""

from typing import Annotated

import typer

from shared.cli.client.payout_commands import payouts_app
from shared.cli.operator import INSTALLATION_PANEL

money_app = typer.Typer()

wallet_app = typer.Typer(help="Show or change a wallet's policy; unfreeze a wallet.")
money_app.add_typer(wallet_app, name="wallet", rich_help_panel=INSTALLATION_PANEL)

reconcile_app = typer.Typer(
    invoke_without_command=True,
    help="Compare our record with Paystream's in both directions. A difference becomes a case for review. "
    "No money moves.",
    epilog="Exit codes: 0 no case is open, 1 cases are open, 2 the comparison failed.",
)
money_app.add_typer(reconcile_app, name="reconcile", rich_help_panel=INSTALLATION_PANEL)

Organization = Annotated[
    str | None, typer.Option("--organization", help='Organization name, e.g. "Demo Carrier".', show_default=False)
]
WalletMode = Annotated[str, typer.Option("--mode", help="Which wallet of the organization: sandbox or production.")]
ReviewerEmail = Annotated[
    str | None,
    typer.Option(
        "--as",
        metavar="EMAIL",
        help="Sign in as this owner or admin. The password is prompted for, or read from OVNPAY_AS_PASSWORD.",
        show_default=False,
    ),
]


@money_app.command("verify", rich_help_panel=INSTALLATION_PANEL)
def verify(
    invariant: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Check only this invariant; repeatable. Default: all.", show_default=False),
    ] = None,
    organization: Annotated[
        str | None, typer.Option(help="Check only the wallets of this organization.", show_default=False)
    ] = None,
    freeze: Annotated[
        bool, typer.Option("--freeze/--no-freeze", help="Freeze the outgoing money of wallets with violations.")
    ] = True,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check every invariant of the ledger and explain each violation.

    It checks all rows while the system runs, in slices that each see one snapshot. A violation freezes the outgoing
    money of its wallet, or of all wallets if it can't be assigned to one: nothing more is sent to Paystream until
    `ovnpay wallet unfreeze --reason ...`. Exit codes: 0 no violations, 1 violations, 2 the check could not run.
    """
    from shared.cli.operator.verify import run_verification

    run_verification(invariant or [], organization, as_json=json, freeze=freeze)


@money_app.command("pause", rich_help_panel=INSTALLATION_PANEL)
def pause(
    organization: Annotated[
        str | None, typer.Option(help="Pause only this organization's wallet.", show_default=False)
    ] = None,
    mode: WalletMode = "production",
    rail: Annotated[
        str | None, typer.Option(help="Pause only this rail: standard, same_day or instant.", show_default=False)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Pause all outgoing money.")] = False,
    reason: Annotated[
        str | None, typer.Option(help="Required. Shown by --list and kept in the audit log.", show_default=False)
    ] = None,
    show: Annotated[bool, typer.Option("--list", help="Only list what is paused or frozen.")] = False,
    json: Annotated[bool, typer.Option("--json", help="With --list: print one JSON line.")] = False,
) -> None:
    """Pause outgoing money: within 2 seconds nothing new is sent to Paystream, including queued payouts.

    Payouts are still accepted, reserved and queued, and batches are released. They wait and are sent after
    `ovnpay resume`. A payment that Paystream already has continues, and its status is still polled.

    Example: ovnpay pause --rail instant --reason "Paystream incident"
    """
    from shared.cli.operator.outgoing_holds import pause_outgoing, print_holds

    if show:
        print_holds(as_json=json)
    else:
        pause_outgoing(organization, mode, rail, reason, everything=everything)


@money_app.command("resume", rich_help_panel=INSTALLATION_PANEL)
def resume(
    organization: Annotated[
        str | None, typer.Option(help="Resume this organization's wallet.", show_default=False)
    ] = None,
    mode: WalletMode = "production",
    rail: Annotated[
        str | None, typer.Option(help="Resume this rail: standard, same_day or instant.", show_default=False)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Lift the pause of all outgoing money.")] = False,
    reason: Annotated[
        str | None, typer.Option(help="Why it may continue; kept in the audit log.", show_default=False)
    ] = None,
) -> None:
    """Lift a pause of `ovnpay pause`: waiting payouts are sent at once, each one once."""
    from shared.cli.operator.outgoing_holds import resume_outgoing

    resume_outgoing(organization, mode, rail, reason, everything=everything)


@wallet_app.callback(invoke_without_command=True)
def wallet(
    context: typer.Context,
    organization: Organization = None,
    mode: Annotated[str, typer.Option(help="sandbox or production.")] = "production",
    duplicate_loads: Annotated[
        str | None,
        typer.Option(
            help="What happens to a second payout of a driver for the same load: warn or refuse.", show_default=False
        ),
    ] = None,
    low_balance: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="CENTS",
            help="Send the event balance.low when the available balance falls below this amount; 0 disables it.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Show a wallet's policy, or change it.

    Example: ovnpay wallet --organization "Demo Carrier" --mode sandbox --low-balance 500000
    """
    from shared.cli.operator.organizations import configure_wallet

    if context.invoked_subcommand is None:
        if organization is None:
            raise typer.BadParameter("--organization NAME is required")
        configure_wallet(organization, mode, duplicate_loads, low_balance)


@wallet_app.command("unfreeze")
def wallet_unfreeze(
    reason: Annotated[str, typer.Option(help="Why its money may be sent again; kept in the audit log.")],
    organization: Organization = None,
    mode: WalletMode = "production",
    wallet: Annotated[str | None, typer.Option(help="Wallet id, wallet_….", show_default=False)] = None,
    everything: Annotated[bool, typer.Option("--all", help="Lift the freeze of all wallets.")] = False,
) -> None:
    """Lift the freeze that a violated invariant placed on a wallet.

    Fix what `ovnpay verify` reports first: a remaining violation freezes the wallet again at the next check.
    """
    from shared.cli.operator.outgoing_holds import unfreeze_wallet

    unfreeze_wallet(organization, mode, wallet, reason, everything=everything)


@reconcile_app.callback()
def reconcile_now(
    context: typer.Context,
    since: Annotated[
        str | None,
        typer.Option(help="First day, e.g. 2026-01-31. Default: 5 days before yesterday.", show_default=False),
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Last day, inclusive, e.g. 2026-01-31. Default: until now.", show_default=False)
    ] = None,
    mode: Annotated[str | None, typer.Option(help="sandbox or production. Default: both.", show_default=False)] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Compare our record with Paystream's in both directions. A difference becomes a case for review. No money moves.

    Days are UTC. Example: ovnpay reconcile --since 2026-01-30
    """
    if context.invoked_subcommand is None:
        from shared.cli.operator.reconciliation import run_reconciliation

        run_reconciliation(since, until, mode, as_json=json)


@reconcile_app.command("cases")
def reconcile_cases(
    only_open: Annotated[bool, typer.Option("--open", help="Only open cases.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print each case as one JSON line.")] = False,
) -> None:
    """List cases, newest first."""
    from shared.cli.operator.reconciliation import print_cases

    print_cases(only_open=only_open, as_json=json)


@reconcile_app.command("close")
def reconcile_close(
    case_id: Annotated[str, typer.Argument(metavar="CASE", help="Case id, case_….")],
    reason: Annotated[str, typer.Option(help="What the review found.")],
    as_email: ReviewerEmail = None,
) -> None:
    """Close a case after its review. The same difference does not open it again."""
    from shared.cli.operator.reconciliation import close_case_by_hand

    close_case_by_hand(case_id, reason, as_email)


@money_app.command("reconcile-only", rich_help_panel=INSTALLATION_PANEL)
def reconcile_only(
    to: Annotated[
        str,
        typer.Argument(metavar="on|off", help="off is rejected until our record has been compared with Paystream's."),
    ],
    reason: Annotated[str, typer.Option(help="Why; kept in the audit log.")],
    as_email: ReviewerEmail = None,
) -> None:
    """Stop all payments until our record has been compared with Paystream's (on), or allow them again (off)."""
    from shared.cli.operator.reconciliation import switch_reconcile_only

    switch_reconcile_only(to, reason, as_email)


@payouts_app.command("resolve", rich_help_panel="Operators (need the installation's database, no API key)")
def payouts_resolve(
    payout_id: Annotated[str, typer.Argument(metavar="ID", help="Payout id, pay_….")],
    outcome: Annotated[str, typer.Option(help="paid or not-paid, according to Paystream.")],
    reason: Annotated[str, typer.Option(help="The evidence, e.g. a ticket of Paystream's support.")],
    as_email: ReviewerEmail = None,
) -> None:
    """Record the outcome of a payout whose outcome is unknown. In production, two people must record the same.

    Only for a payout that is on hold, or whose outcome is unknown after its idempotency key has expired at Paystream;
    every other payout ends without it. In production --as is required.
    """
    from shared.cli.operator.resolutions import record_decision

    record_decision(payout_id, outcome, reason, as_email)
