"""The command by which people say what became of a payout."""

import sys
from typing import NoReturn

from shared.cli.operator.actors import AuthenticationFailed, identify_actor
from shared.cli.operator.database import open_database
from shared.payouts.resolve import Resolution
from shared.payouts.resolve import resolve_payout as say
from shared.platform.clock import SystemClock
from shared.platform.errors import DomainError
from shared.platform.ids import PAYOUT, parse_id


def _stop(sentence: str, code: int = 1) -> NoReturn:
    print(f"ovnpay payouts resolve: {sentence}", file=sys.stderr)
    raise SystemExit(code)


def record_decision(payout_id: str, outcome: str, reason: str, email: str | None) -> None:
    """Says it, and prints what was done."""
    if outcome not in list(Resolution):
        _stop(f"--outcome is paid or not-paid, not {outcome!r}", 2)
    parsed = parse_id(PAYOUT, payout_id)
    if parsed is None or not reason.strip():
        _stop(f"{payout_id!r} is no payout's id" if parsed is None else "say in --reason how you know", 2)
    with open_database() as (_, engine):
        try:
            who = identify_actor(engine, email)
            with engine.begin() as connection:
                done = say(connection, parsed, Resolution(outcome), reason.strip(), who, SystemClock().now())
        except AuthenticationFailed as why:
            _stop(str(why))
        except DomainError as refusal:
            _stop(refusal.message)
    if done.done:
        print(f"{payout_id} is {done.status}, resolved as {outcome} by {' and '.join(done.by)}")
    else:
        print(f"{payout_id}: {outcome}, says {done.by[0]}; nothing is done until a second person says so, within a day")
