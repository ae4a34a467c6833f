"""Was anybody paid twice, or not at all? The clients' own records, the database and the provider's record, compared."""

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
from tests.chaos.load import Request, Wanted
from tests.support.ledger import uuid_of
from tests.support.simulator import RAILS, Simulator
from tests.support.stack import Stack

_DEAD: Final = frozenset({"failed", "canceled"})
_AS_PAID: Final = {"completed": "completed", "returned": "returned"}
"""What Paystream's payment has to be where our payout is that; nothing at all where it is anything else."""


class Row(NamedTuple):
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
class Verdict:
    """What was found."""

    breaks: list[str] = field(default_factory=list)
    accepted: int = 0
    """Payouts that are in the database."""
    paid: int = 0
    """Those of them that Paystream has paid, or paid and brought back."""
    statuses: Counter[str] = field(default_factory=Counter)
    lost: set[str] = field(default_factory=set)
    """The marks of payouts that a client was promised and that are not there, or count as paid and were not."""
    doubled: set[str] = field(default_factory=set)
    """Those that are there twice, or were paid twice."""


def judge(
    stack: Stack, requests: Sequence[Request], owners: journal.Owners, left: Mapping[str, int], spendable_cents: int
) -> Verdict:
    """Everything that is wrong. `left` is what has not ended, `spendable_cents` what the wallet had at the start."""
    verdict = Verdict()
    with psycopg.connect(stack["database_url"]) as connection:
        rows = _rows(connection)
        steps = journal.read(connection)
        unresolved = connection.execute("SELECT count(*) FROM submissions WHERE status = 'unresolved'").fetchone()
        available_cents = _available_cents(connection, stack)
    verdict.accepted, verdict.statuses = len(rows), Counter(row.status for row in rows)
    verdict.breaks += _of_clients(requests, rows, verdict)
    verdict.breaks += _of_provider(rows, Simulator(stack["paystream"]).payments(), verdict)
    verdict.breaks += journal.breaks(steps, owners)
    verdict.breaks += [f"payout {row.id} is held: {row.held_reason}" for row in rows if row.held_reason]
    if unresolved != (0,):
        verdict.breaks.append(f"{unresolved} submissions are unresolved")
    # An open payout holds its amount, unless it waits in a batch; that it is open has been told already.
    spent_cents = sum(row.amount_cents for row in rows if row.status == "completed")
    spent_cents += sum(row.fee_cents for row in rows if row.status == "returned")
    if not left and spendable_cents - available_cents != spent_cents:
        verdict.breaks.append(f"the wallet is {spendable_cents - available_cents} cents lighter, not {spent_cents}")
    if left:
        verdict.breaks.append("not ended: " + ", ".join(f"{count} {name}" for name, count in left.items()))
    verdict.breaks += _of_the_system_itself(stack)
    return verdict


def _rows(connection: "psycopg.Connection[Any]") -> list[Row]:
    found = connection.execute(
        "SELECT payouts.id, description, payouts.status, amount_cents, fee_cents, rail, attempt, held_reason,"
        " drivers.id, recipient_id FROM payouts JOIN drivers ON drivers.id = driver_id ORDER BY payouts.id"
    )
    return [Row._make(row) for row in found]


def _available_cents(connection: "psycopg.Connection[Any]", stack: Stack) -> int:
    row = connection.execute(
        "SELECT balance_cents FROM accounts JOIN wallets ON wallets.id = wallet_id"
        " WHERE mode = 'sandbox' AND kind = 'available'"
    ).fetchone()
    assert row is not None
    return int(row[0])


def _of_clients(requests: Sequence[Request], rows: Sequence[Row], verdict: Verdict) -> Iterator[str]:
    """What a client was told, against what is there."""
    by_mark: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_mark[row.mark].append(row)
    for mark, found in by_mark.items():
        if len(found) > 1:
            verdict.doubled.add(mark)
            yield f"{mark} was accepted {len(found)} times"
    for request in requests:
        if request.contradicted:
            yield f"{request.key} was answered differently: {request.contradicted}"
        made = request.made
        for want in request.wants:
            found = by_mark.pop(want.mark, [])
            promised = want.mark in made or (request.status == 200 and request.path == "/api/v1/batches")
            if promised and not found:
                verdict.lost.add(want.mark)
                yield f"{want.mark} was promised ({request.status}) and is not there"
            if found and not promised and request.status is not None:
                yield f"{want.mark} is there, and its client was told {request.status} {request.answer}"[:300]
            if found and not _is_as_wanted(found[0], want, made.get(want.mark)):
                yield f"{want.mark} is not as its client wanted it: {found[0]}"
    yield from (f"{mark} was wanted by nobody" for mark in by_mark)


def _is_as_wanted(row: Row, want: Wanted, told_id: str | None) -> bool:
    same = (row.amount_cents, row.rail, row.driver_id) == (want.amount_cents, want.rail, uuid_of(want.driver_id))
    return same and (told_id is None or row.id == uuid_of(told_id))


def _of_provider(rows: Sequence[Row], payments: Sequence[Any], verdict: Verdict) -> Iterator[str]:
    """What Paystream has really paid, against what we believe."""
    of_payout: defaultdict[Any, list[Any]] = defaultdict(list)
    for payment in sorted(payments, key=lambda payment: payment["createdAt"]):
        name = (payment["metadata"] or {}).get("payoutId") or (payment["description"] or "").partition(" ")[0]
        of_payout[uuid_of(name)].append(payment)
    for row in rows:
        made = of_payout.pop(row.id, [])
        live = [payment for payment in made if payment["status"] not in _DEAD]
        overlap = [two for one, two in itertools.pairwise(made) if not _ended_before(one, two["createdAt"])]
        if len(live) > 1 or overlap:
            verdict.doubled.add(row.mark)
            yield f"{row.mark} has {len(live)} payments: {[(one['id'], one['status']) for one in made]}"
        wanted = _AS_PAID.get(row.status)
        paid = [payment["status"] for payment in live]
        verdict.paid += any(status in _AS_PAID for status in paid)
        if wanted and not live:
            verdict.lost.add(row.mark)
            yield f"{row.mark} is {row.status}, and Paystream has paid nothing"
        elif paid and paid[0] != wanted:
            yield f"{row.mark} is {row.status}, and its payment is {paid[0]}"
        expected = (row.amount_cents - row.fee_cents, row.recipient_id, RAILS[row.rail])
        for payment in made:
            if (asked := (payment["amount"], payment["recipientId"], payment["rail"])) != expected:
                yield f"{row.mark} was to be {expected}, and was paid as {asked}"
    yield from (
        f"Paystream was asked for {one['id']} of no payout of ours" for ones in of_payout.values() for one in ones
    )


def _ended_before(payment: Any, moment: str) -> bool:
    """Whether a payment had failed by then."""
    return any(stage["status"] in _DEAD and stage["at"] <= moment for stage in payment["history"])


def _of_the_system_itself(stack: Stack) -> Iterator[str]:
    """What `ovnpay verify` finds."""
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
    for law in json.loads(done.stdout)["invariants"]:
        yield from (f"`ovnpay verify`: {law['name']}: {found}" for found in law["breaks"])
