"""The outcome of a run: the clients' records, the database and the provider's record are compared."""

import itertools
import json
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import psycopg

from tests.chaos import journal
from tests.chaos.load import Request, WantedPayout
from tests.support.ledger import uuid_of
from tests.support.simulator import RAILS, Simulator
from tests.support.stack import Stack

_DEAD: Final = frozenset({"failed", "canceled"})
_AS_PAID: Final = {"completed": "completed", "returned": "returned"}
"""Payout status → the status of its payment; a payout in another status must have none."""


class PayoutRecord(NamedTuple):
    """A payout in the database."""

    id: Any
    mark: str
    status: str
    amount_cents: int
    fee_cents: int
    rail: str
    attempt: int
    held_reason: str | None
    driver_id: Any
    recipient_id: str


@dataclass
class RunOutcome:
    """Violations, and counts of payouts."""

    violations: list[str] = field(default_factory=list)
    accepted: int = 0
    """Payouts that are in the database."""
    paid: int = 0
    """Payouts that Paystream has paid, returned ones included."""
    statuses: Counter[str] = field(default_factory=Counter)
    lost: set[str] = field(default_factory=set)
    """Marks of payouts that a client's answer has and the database does not, or that count as paid and were not."""
    doubled: set[str] = field(default_factory=set)
    """Marks of payouts that exist twice, or were paid twice."""


def evaluate_run(
    stack: Stack,
    requests: Sequence[Request],
    owners: journal.ConnectionOwners,
    left: Mapping[str, int],
    spendable_cents: int,
) -> RunOutcome:
    """Compare all records. `left` is open work, `spendable_cents` the wallet's balance at the start."""
    outcome = RunOutcome()
    with psycopg.connect(stack["database_url"]) as connection:
        rows = _rows(connection)
        steps = journal.load_journal(connection)
        unresolved = connection.execute("SELECT count(*) FROM submissions WHERE status = 'unresolved'").fetchone()
        available_cents = _available_cents(connection, stack)
    outcome.accepted, outcome.statuses = len(rows), Counter(row.status for row in rows)
    outcome.violations += _client_violations(requests, rows, outcome)
    outcome.violations += _provider_violations(rows, Simulator(stack["paystream"]).payments(), outcome)
    outcome.violations += journal.find_violations(steps, owners)
    outcome.violations += [f"payout {row.id} is on hold: {row.held_reason}" for row in rows if row.held_reason]
    if unresolved != (0,):
        outcome.violations.append(f"{unresolved} submissions are unresolved")
    # An open payout has reserved its amount, unless it waits in a batch; open work is a violation already.
    spent_cents = sum(row.amount_cents for row in rows if row.status == "completed")
    spent_cents += sum(row.fee_cents for row in rows if row.status == "returned")
    if not left and spendable_cents - available_cents != spent_cents:
        outcome.violations.append(f"the wallet has {spendable_cents - available_cents} cents less, not {spent_cents}")
    if left:
        outcome.violations.append("not ended: " + ", ".join(f"{count} {name}" for name, count in left.items()))
    outcome.violations += _invariant_violations(stack)
    return outcome


def _rows(connection: "psycopg.Connection[Any]") -> list[PayoutRecord]:
    found = connection.execute(
        "SELECT payouts.id, description, payouts.status, amount_cents, fee_cents, rail, attempt, held_reason,"
        " drivers.id, recipient_id FROM payouts JOIN drivers ON drivers.id = driver_id ORDER BY payouts.id"
    )
    return [PayoutRecord._make(row) for row in found]


def _available_cents(connection: "psycopg.Connection[Any]", stack: Stack) -> int:
    row = connection.execute(
        "SELECT balance_cents FROM accounts JOIN wallets ON wallets.id = wallet_id"
        " WHERE mode = 'sandbox' AND kind = 'available'"
    ).fetchone()
    assert row is not None
    return int(row[0])


def _client_violations(requests: Sequence[Request], rows: Sequence[PayoutRecord], outcome: RunOutcome) -> Iterator[str]:
    """Compare the clients' answers with the database."""
    by_mark: defaultdict[str, list[PayoutRecord]] = defaultdict(list)
    for row in rows:
        by_mark[row.mark].append(row)
    for mark, found in by_mark.items():
        if len(found) > 1:
            outcome.doubled.add(mark)
            yield f"{mark} was accepted {len(found)} times"
    for request in requests:
        if request.contradicted:
            yield f"{request.key} was answered differently: {request.contradicted}"
        made = request.made
        for want in request.wants:
            found = by_mark.pop(want.mark, [])
            promised = want.mark in made or (request.status == 200 and request.path == "/api/v1/batches")
            if promised and not found:
                outcome.lost.add(want.mark)
                yield f"{want.mark} was answered with {request.status} and does not exist"
            if found and not promised and request.status is not None:
                yield f"{want.mark} exists, and its client's answer was {request.status} {request.answer}"[:300]
            if found and not _is_as_wanted(found[0], want, made.get(want.mark)):
                yield f"{want.mark} differs from the request: {found[0]}"
    yield from (f"{mark} was never requested" for mark in by_mark)


def _is_as_wanted(row: PayoutRecord, want: WantedPayout, answered_id: str | None) -> bool:
    same = (row.amount_cents, row.rail, row.driver_id) == (want.amount_cents, want.rail, uuid_of(want.driver_id))
    return same and (answered_id is None or row.id == uuid_of(answered_id))


def _provider_violations(rows: Sequence[PayoutRecord], payments: Sequence[Any], outcome: RunOutcome) -> Iterator[str]:
    """Compare Paystream's payments with the payouts."""
    of_payout: defaultdict[Any, list[Any]] = defaultdict(list)
    for payment in sorted(payments, key=lambda payment: payment["createdAt"]):
        name = (payment["metadata"] or {}).get("payoutId") or (payment["description"] or "").partition(" ")[0]
        of_payout[uuid_of(name)].append(payment)
    for row in rows:
        made = of_payout.pop(row.id, [])
        live = [payment for payment in made if payment["status"] not in _DEAD]
        overlap = [two for one, two in itertools.pairwise(made) if not _ended_before(one, two["createdAt"])]
        if len(live) > 1 or overlap:
            outcome.doubled.add(row.mark)
            yield f"{row.mark} has {len(live)} payments: {[(one['id'], one['status']) for one in made]}"
        wanted = _AS_PAID.get(row.status)
        paid = [payment["status"] for payment in live]
        outcome.paid += any(status in _AS_PAID for status in paid)
        if wanted and not live:
            outcome.lost.add(row.mark)
            yield f"{row.mark} is {row.status}, and Paystream has paid nothing"
        elif paid and paid[0] != wanted:
            yield f"{row.mark} is {row.status}, and its payment is {paid[0]}"
        expected = (row.amount_cents - row.fee_cents, row.recipient_id, RAILS[row.rail])
        for payment in made:
            if (asked := (payment["amount"], payment["recipientId"], payment["rail"])) != expected:
                yield f"{row.mark} was to be {expected}, and was paid as {asked}"
    yield from (f"Paystream has payment {one['id']} without a payout" for ones in of_payout.values() for one in ones)


def _ended_before(payment: Any, moment: str) -> bool:
    """Return whether a payment had failed by then."""
    return any(stage["status"] in _DEAD and stage["at"] <= moment for stage in payment["history"])


def _invariant_violations(stack: Stack) -> Iterator[str]:
    """Yield what `ovnpay verify` finds."""
    environment = {
        "OVNPAY_DATABASE_URL": stack["service_database_url"],
        "OVNPAY_REDIS_URL": stack["redis_url"],
    }
    done = subprocess.run(
        [sys.executable, "-m", "shared.cli", "verify", "--json", "--no-freeze"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 1):
        yield f"`ovnpay verify` ends with {done.returncode}: {(done.stdout + done.stderr).strip()[-600:]}"
        return
    for invariant in json.loads(done.stdout)["invariants"]:
        yield from (f"`ovnpay verify`: {invariant['name']}: {found}" for found in invariant["breaks"])
