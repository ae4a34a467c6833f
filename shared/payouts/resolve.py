"""Resolving: a person's way out for a payout of which nobody knows the end, or that is held.

Somebody who has asked Paystream says that it was paid, or that it was not. In production a second person has to say
the same; until then nothing is done. What was said is done by the one transition function and the ledger; a report of
the provider's that contradicts it later is held like any other.
"""

import enum
import uuid
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from msgspec.structs import replace
from sqlalchemy.exc import IntegrityError

from shared import ledger
from shared.holds import cases
from shared.identity import audit
from shared.identity.audit import Actor, Entry
from shared.payouts.lifecycle import Move, transition_payouts
from shared.payouts.rails import PROVIDER_RAILS
from shared.platform.errors import Conflict, InsufficientFunds, NotFound
from shared.platform.ids import PAYOUT, new_id, public_id
from shared.schema.audit import Action, ActorKind
from shared.schema.controls import CaseKind
from shared.schema.organizations import Mode
from shared.schema.payouts import PayoutStatus

S = PayoutStatus

PROPOSAL_LIFETIME: Final = timedelta(hours=24)
"""How long a second person has; then it has to be said anew."""

NOT_PAID_FAILURE_CODE: Final = "NOT_PAID"


class Resolution(enum.StrEnum):
    """What became of it."""

    PAID = "paid"
    NOT_PAID = "not-paid"


RESOLUTION_PATHS: Final[dict[tuple[PayoutStatus, Resolution], tuple[PayoutStatus, ...]]] = {
    # Nobody knew.
    (S.PROCESSING, Resolution.PAID): (S.COMPLETED,),
    (S.PROCESSING, Resolution.NOT_PAID): (S.FAILED,),
    # Held before it left, for it may be paid already: it was, or it goes its way.
    (S.VALIDATED, Resolution.PAID): (S.QUEUED, S.PROCESSING, S.COMPLETED),
    (S.VALIDATED, Resolution.NOT_PAID): (),
    (S.QUEUED, Resolution.PAID): (S.PROCESSING, S.COMPLETED),
    (S.QUEUED, Resolution.NOT_PAID): (),
    # Held at its end: the money had been given back, or it stays as it is.
    (S.FAILED, Resolution.PAID): (S.QUEUED, S.PROCESSING, S.COMPLETED),
    (S.FAILED, Resolution.NOT_PAID): (),
    (S.CANCELED, Resolution.NOT_PAID): (),
    (S.COMPLETED, Resolution.PAID): (),
    (S.RETURNED, Resolution.NOT_PAID): (),
}
"""The steps that an outcome takes."""


class Reviewer(NamedTuple):
    """Who says so."""

    name: str
    """A user's email; or, where no user is named, an operator's login and machine."""
    user_id: uuid.UUID | None


class ResolutionResult(NamedTuple):
    """What was done."""

    done: bool
    """False: proposed, and a second person has to say the same."""
    status: str
    """The payout's."""
    by: list[str]


class _Found(NamedTuple):
    wallet_id: uuid.UUID
    organization_id: uuid.UUID
    mode: str
    status: PayoutStatus
    attempt: int
    held_reason: str | None
    submission_id: uuid.UUID | None
    submission_status: str | None


def resolve_payout(
    connection: sa.Connection,
    payout_id: uuid.UUID,
    outcome: Resolution,
    reason: str,
    person: Reviewer,
    now: datetime,
) -> ResolutionResult:
    """Says what became of a payout; done at once in the sandbox, by a second, other person in production.

    Raises:
        NotFound: there is no such payout.
        Conflict: there is nothing to say about it; or somebody says the opposite, or the same person says it again.
        InsufficientFunds: its money was given back, and the wallet does not cover it any more.

    """
    found = _locked(connection, payout_id)
    _require_open(payout_id, found)
    path = RESOLUTION_PATHS.get((found.status, outcome))
    if path is None:
        raise Conflict(f"It is {found.status}, and no step leads from there to {outcome}; its case can be closed")
    needs_two = found.mode == Mode.PRODUCTION
    if needs_two and person.user_id is None:
        raise Conflict("In production two people have to say the same: say who you are, with --as EMAIL")
    proposal = connection.execute(
        sa.text("""
            SELECT id, outcome, proposed_by FROM payout_resolutions
            WHERE payout_id = :id AND attempt = :attempt AND confirmed_at IS NULL AND proposed_at > :since
            ORDER BY id DESC LIMIT 1
        """),
        {"id": payout_id, "attempt": found.attempt, "since": now - PROPOSAL_LIFETIME},
    ).one_or_none()
    if proposal is not None:
        if proposal.outcome != outcome:
            raise Conflict(
                f"{proposal.proposed_by} says {proposal.outcome}; find out who is right (a word holds a day)"
            )
        if proposal.proposed_by == person.name:
            raise Conflict("You have said so already: a second person has to say the same")
    said = {"outcome": outcome.value, "reason": reason, "by": person.name}
    if needs_two and proposal is None:
        _propose(connection, payout_id, found, outcome, reason, person, now, needs_two=True)
        _record(connection, found, person, Action.PAYOUT_PROPOSE, payout_id, said, now)
        return ResolutionResult(False, found.status, [person.name])
    if proposal is None:
        resolution_id = _propose(connection, payout_id, found, outcome, reason, person, now, needs_two=False)
        by = [person.name]
    else:
        resolution_id, by = proposal.id, [proposal.proposed_by, person.name]
    connection.execute(
        sa.text("""
            UPDATE payout_resolutions SET confirmed_by = :by, confirmed_reason = :reason, confirmed_at = :now
            WHERE id = :id
        """),
        {"id": resolution_id, "by": person.name, "reason": reason, "now": now},
    )
    status = _carry_out(connection, payout_id, found, outcome, path, by, now)
    _record(connection, found, person, Action.PAYOUT_RESOLVE, payout_id, {**said, "by": by, "status": status}, now)
    return ResolutionResult(True, status, by)


def _locked(connection: sa.Connection, payout_id: uuid.UUID) -> _Found:
    """The payout, locked: whoever comes second sees what the first has done."""
    row = connection.execute(
        sa.text("""
            SELECT payouts.wallet_id, organization_id, mode, payouts.status, payouts.attempt, held_reason,
                   payouts.submission_id, submissions.status
            FROM payouts JOIN wallets ON wallets.id = payouts.wallet_id
            LEFT JOIN submissions ON submissions.id = payouts.submission_id
            WHERE payouts.id = :id FOR UPDATE OF payouts
        """),
        {"id": payout_id},
    ).one_or_none()
    if row is None:
        raise NotFound(f"There is no payout {public_id(PAYOUT, payout_id)}")
    return _Found(row[0], row[1], row[2], S(row[3]), *row[4:])


def _require_open(payout_id: uuid.UUID, found: _Found) -> None:
    """Refuses what answers itself."""
    name = public_id(PAYOUT, payout_id)
    unresolved = found.status is S.PROCESSING and found.submission_status == "unresolved"
    if found.status is S.PROCESSING and found.submission_status in ("prepared", "unknown"):
        raise Conflict(f"{name} is still being asked about under its key; wait until its key's lifetime is over")
    if not unresolved and found.held_reason is None:
        raise Conflict(
            f"{name} is {found.status} and waits for nobody: only what is unknown past its key's lifetime, or held, "
            "can be resolved"
        )


def _propose(
    connection: sa.Connection,
    payout_id: uuid.UUID,
    found: _Found,
    outcome: Resolution,
    reason: str,
    person: Reviewer,
    now: datetime,
    *,
    needs_two: bool,
) -> uuid.UUID:
    resolution_id = new_id()
    connection.execute(
        sa.text("""
            INSERT INTO payout_resolutions (id, payout_id, attempt, outcome, needs_two, reason, proposed_by,
                                            proposed_at)
            VALUES (:id, :payout_id, :attempt, :outcome, :needs_two, :reason, :by, :now)
        """),
        {
            "id": resolution_id,
            "payout_id": payout_id,
            "attempt": found.attempt,
            "outcome": outcome.value,
            "needs_two": needs_two,
            "reason": reason,
            "by": person.name,
            "now": now,
        },
    )
    return resolution_id


def _carry_out(
    connection: sa.Connection,
    payout_id: uuid.UUID,
    found: _Found,
    outcome: Resolution,
    path: tuple[PayoutStatus, ...],
    by: list[str],
    now: datetime,
) -> str:
    """Does what people have said; the payout's status then."""
    names = " and ".join(by)
    ledger.lock_wallets(connection, [found.wallet_id])
    connection.execute(
        sa.text("""
            UPDATE payouts SET held_reason = NULL, held_at = NULL,
                next_action_at = CASE WHEN status IN ('validated', 'queued') THEN :now ELSE next_action_at END
            WHERE id = :id
        """),
        {"id": payout_id, "now": now},
    )
    submission_id = None
    if outcome is Resolution.PAID and path:
        submission_id = _link(connection, payout_id, found, now)
    source = found.status
    for target in path:
        # The row that a new attempt begins at carries what the provider has made already.
        linked = submission_id if target is S.PROCESSING else None
        move = Move(payout_id, f"resolved by {names}: {outcome}", submission_id=linked)
        if target is S.FAILED:
            move = replace(move, failure_code=NOT_PAID_FAILURE_CODE, failure_message="Paystream has not paid it")
        try:
            moved = transition_payouts(connection, [move], source, target, now)
        except IntegrityError:
            raise InsufficientFunds("The wallet's available balance does not cover it; top it up first") from None
        assert moved.rows, "the payout is locked"
        source = target
    if found.submission_status == "unresolved":
        _end_submission(connection, found.submission_id, outcome, now)
    cases.close_payout_cases(connection, payout_id, names, f"resolved: {outcome}", now)
    return source.value


def _link(connection: sa.Connection, payout_id: uuid.UUID, found: _Found, now: datetime) -> uuid.UUID | None:
    """Writes down that the provider's payment, for whose sake the payout was held, is this payout's: reports on it, a
    return for one, then find it. None where no payment is known.
    """
    case = connection.execute(
        sa.text("""
            SELECT payment_id, theirs, about_at FROM reconciliation_cases
            WHERE payout_id = :id AND kind = :kind AND closed_at IS NULL AND payment_id IS NOT NULL
            ORDER BY id LIMIT 1
        """),
        {"id": payout_id, "kind": CaseKind.MISSING_HERE.value},
    ).one_or_none()
    if case is None:
        return None
    if found.status is S.PROCESSING:  # it has a place in a request of ours already
        connection.execute(
            sa.text("""
                UPDATE submission_items SET provider_payment_id = :payment_id
                WHERE payout_id = :id AND attempt = :attempt AND NOT dissolved AND provider_payment_id IS NULL
            """),
            {"id": payout_id, "attempt": found.attempt, "payment_id": case.payment_id},
        )
        return None
    theirs: dict[str, Any] = case.theirs
    submission_id = new_id()
    values = {
        "id": submission_id,
        "wallet_id": found.wallet_id,
        "payout_id": payout_id,
        "attempt": found.attempt + (found.status is S.FAILED),
        "payment_id": case.payment_id,
        "recipient_id": theirs["recipient"],
        "net_cents": theirs["amount"],
        "made_at": case.about_at,
        "now": now,
    }
    rails = " ".join(f"WHEN '{ours}' THEN '{name}'" for ours, name in PROVIDER_RAILS.items())
    connection.execute(
        sa.text(f"""
            INSERT INTO submissions (id, wallet_id, kind, rail, request, status, provider_id, first_sent_at,
                                     answered_at, created_at)
            SELECT :id, :wallet_id, 'payment', rail, jsonb_build_object('recipientId', CAST(:recipient_id AS text),
                       'amount', CAST(:net_cents AS bigint), 'rail', CASE rail {rails} END),
                   'accepted', :payment_id, :made_at, :now, :now
            FROM payouts WHERE id = :payout_id
        """),
        values,
    )
    connection.execute(
        sa.text("""
            INSERT INTO submission_items (submission_id, position, payout_id, attempt, net_cents, recipient_id,
                                          provider_payment_id)
            VALUES (:id, 0, :payout_id, :attempt, :net_cents, :recipient_id, :payment_id)
        """),
        values,
    )
    return submission_id


def _end_submission(
    connection: sa.Connection, submission_id: uuid.UUID | None, outcome: Resolution, now: datetime
) -> None:
    """Ends a request once all of its payouts have ended: taken on, where any of them was paid."""
    connection.execute(
        sa.text("""
            UPDATE submissions SET answered_at = :now, status = CASE WHEN EXISTS (
                    SELECT FROM payouts WHERE payouts.submission_id = :id AND status IN ('completed', 'returned'))
                THEN 'accepted' ELSE 'rejected' END, error_message = 'resolved by people'
            WHERE id = :id AND status = 'unresolved' AND NOT EXISTS (
                SELECT FROM payouts WHERE payouts.submission_id = :id AND status = 'processing')
        """),
        {"id": submission_id, "now": now},
    )


def _record(
    connection: sa.Connection,
    found: _Found,
    person: Reviewer,
    action: Action,
    payout_id: uuid.UUID,
    said: dict[str, Any],
    now: datetime,
) -> None:
    """Into the audit log of the wallet's organization: the person by his user where he has named himself, and from
    which machine.
    """
    at = audit.operator_actor(found.organization_id, found.wallet_id)
    kind = ActorKind.OPERATOR if person.user_id is None else ActorKind.USER
    actor: Actor = at._replace(kind=kind, user_id=person.user_id)
    audit.record_entries(connection, [Entry(actor, action, public_id(PAYOUT, payout_id), after=said)], now)
