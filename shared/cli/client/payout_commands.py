"""Command line of `ovnpay payouts …`."""

from typing import Annotated

import typer

from shared.cli.client.parameters import (
    ACCESS_HELP,
    EXIT_CODES_HELP,
    Json,
    Key,
    Limit,
    PayoutId,
    PayoutIds,
    Url,
    access_options,
)

payouts_app = typer.Typer(
    no_args_is_help=True,
    help="Single payouts: list, show, cancel, retry; and resolve, for operators.",
    epilog=EXIT_CODES_HELP + ACCESS_HELP,
)


@payouts_app.command("list")
def payouts_list(
    status: Annotated[
        str | None,
        typer.Option(
            "--status",
            help="Only payouts with this status: validated, queued, processing, completed, failed, canceled, returned.",
            show_default=False,
        ),
    ] = None,
    driver: Annotated[
        str | None, typer.Option("--driver", help="Only payouts of this driver, drv_….", show_default=False)
    ] = None,
    limit: Limit = 50,
    url: Url = None,
    key: Key = None,
    json: Json = False,
) -> None:
    """List payouts, newest first."""
    from shared.cli.client.payouts import print_payouts

    raise typer.Exit(print_payouts(access_options(url, key, json), status, driver, limit))


@payouts_app.command("show")
def payouts_show(payout_id: PayoutId, url: Url = None, key: Key = None, json: Json = False) -> None:
    """Show a payout, its timeline, and the expected next step."""
    from shared.cli.client.payouts import print_payout

    raise typer.Exit(print_payout(access_options(url, key, json), payout_id))


@payouts_app.command("cancel")
def payouts_cancel(payout_ids: PayoutIds, url: Url = None, key: Key = None, json: Json = False) -> None:
    """Cancel payouts that were not sent to the provider."""
    from shared.cli.client.payouts import cancel_or_retry_each

    raise typer.Exit(cancel_or_retry_each(access_options(url, key, json), payout_ids, "cancel"))


@payouts_app.command("retry")
def payouts_retry(payout_ids: PayoutIds, url: Url = None, key: Key = None, json: Json = False) -> None:
    """Retry failed payouts."""
    from shared.cli.client.payouts import cancel_or_retry_each

    raise typer.Exit(cancel_or_retry_each(access_options(url, key, json), payout_ids, "retry"))
