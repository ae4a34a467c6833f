"""`ovnpay payouts resolve`: people record the outcome of a payout that can't be determined automatically."""

from shared.cli.operator import fail_command
from shared.cli.operator.actors import AuthenticationFailed, identify_actor
from shared.cli.operator.environment import open_database
from shared.payouts.apply_resolution import Resolution
from shared.payouts.resolve import resolve_payout
from shared.platform.clock import SystemClock
from shared.platform.errors import DomainError
from shared.platform.ids import PAYOUT, parse_id

COMMAND = "payouts resolve"


def record_decision(payout_id: str, outcome: str, reason: str, email: str | None) -> None:
    """Record one person's decision and print whether the payout is resolved."""
    if outcome not in list(Resolution):
        fail_command(COMMAND, f"--outcome must be paid or not-paid, not {outcome!r}", 2)
    parsed_id = parse_id(PAYOUT, payout_id)
    if parsed_id is None:
        fail_command(COMMAND, f"{payout_id!r} is not a payout id", 2)
    if not reason.strip():
        fail_command(COMMAND, "--reason must not be blank", 2)
    with open_database() as (_, engine):
        try:
            reviewer = identify_actor(engine, email)
            with engine.begin() as connection:
                resolution, now = Resolution(outcome), SystemClock().now()
                result = resolve_payout(connection, parsed_id, resolution, reason.strip(), reviewer, now)
        except AuthenticationFailed as error:
            fail_command(COMMAND, str(error))
        except DomainError as error:
            fail_command(COMMAND, error.message)
    if result.done:
        print(f"{payout_id} is {result.status}, resolved as {outcome} by {' and '.join(result.by)}")
    else:
        print(f"{payout_id}: {result.by[0]} recorded {outcome}; a second person must record the same within 24 hours")
