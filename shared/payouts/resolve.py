"""Resolution of a payout that is on hold, or whose outcome is still unknown after its key's lifetime.

A reviewer who has asked Paystream records whether it was paid. In production a second reviewer must approve it. A later
payment update that contradicts it puts the payout on hold again.
"""

import uuid
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from shared.identity import audit
from shared.payouts.apply_resolution import Resolution, ResolvablePayout, apply_resolution
from shared.platform.errors import Conflict, NotFound
from shared.platform.ids import PAYOUT, new_id, public_id
from shared.schema.audit import Action, ActorKind
from shared.schema.organizations import Mode
from shared.schema.payouts import PayoutStatus

S = PayoutStatus

PROPOSAL_LIFETIME: Final = timedelta(hours=24)
"""How long a proposal can be approved."""

RESOLUTION_PATHS: Final[dict[tuple[PayoutStatus, Resolution], tuple[PayoutStatus, ...]]] = {
    # The outcome was unknown.
    (S.PROCESSING, Resolution.PAID): (S.COMPLETED,),
    (S.PROCESSING, Resolution.NOT_PAID): (S.FAILED,),
    # On hold before it was submitted, as a possible double payment. Not paid: it is submitted.
    (S.VALIDATED, Resolution.PAID): (S.QUEUED, S.PROCESSING, S.COMPLETED),
    (S.VALIDATED, Resolution.NOT_PAID): (),
    (S.QUEUED, Resolution.PAID): (S.PROCESSING, S.COMPLETED),
    (S.QUEUED, Resolution.NOT_PAID): (),
    # On hold in a final status, by a contradiction. Paid after the release: it is reserved and settled again.
    (S.FAILED, Resolution.PAID): (S.QUEUED, S.PROCESSING, S.COMPLETED),
    (S.FAILED, Resolution.NOT_PAID): (),
    (S.CANCELED, Resolution.NOT_PAID): (),
    (S.COMPLETED, Resolution.PAID): (),
    (S.RETURNED, Resolution.NOT_PAID): (),
}
"""The statuses that a resolution passes through."""


class Reviewer(NamedTuple):
    """Who records the resolution."""

    name: str
    """A user's email, or an operator's `login@host`."""
    user_id: uuid.UUID | None
    """None for an operator."""


class ResolutionResult(NamedTuple):
    """What was done."""

    done: bool
    """False: only proposed."""
    status: str
    """The payout's status."""
    by: list[str]


def resolve_payout(
    connection: sa.Connection,
    payout_id: uuid.UUID,
    resolution: Resolution,
    reason: str,
    reviewer: Reviewer,
    now: datetime,
) -> ResolutionResult:
    """Propose or approve a resolution; in the sandbox one reviewer is enough.

    Raises:
        NotFound: there is no such payout.
        Conflict: the payout needs no resolution, the proposal has another outcome, or the reviewer made it.
        InsufficientFunds: the amount was released, and the balance no longer covers it.

    """
    payout = _lock_payout(connection, payout_id)
    _require_resolvable(payout)
    path = RESOLUTION_PATHS.get((payout.status, resolution))
    if path is None:
        raise Conflict(f"A {payout.status} payout can't be resolved as {resolution}; close its case instead")
    needs_two = payout.mode == Mode.PRODUCTION
    if needs_two and reviewer.user_id is None:
        raise Conflict("In production two users must approve a resolution: name yours with --as EMAIL")
    details = {"outcome": resolution.value, "reason": reason, "by": reviewer.name}
    values = {**details, "payout_id": payout_id, "attempt": payout.attempt, "needs_two": needs_two, "now": now}
    proposal = _load_proposal(connection, payout, resolution, reviewer, now)
    if proposal is None:
        resolution_id, by = new_id(), [reviewer.name]
        connection.execute(_INSERT_PROPOSAL, {**values, "id": resolution_id})
        if needs_two:
            _audit(connection, payout, reviewer, Action.PAYOUT_PROPOSE, details, now)
            return ResolutionResult(False, payout.status, by)
    else:
        resolution_id, by = proposal.id, [proposal.proposed_by, reviewer.name]
    connection.execute(_CONFIRM_PROPOSAL, {"id": resolution_id, "by": reviewer.name, "reason": reason, "now": now})
    status = apply_resolution(connection, payout, resolution, path, by, now).value
    _audit(connection, payout, reviewer, Action.PAYOUT_RESOLVE, {**details, "by": by, "status": status}, now)
    return ResolutionResult(True, status, by)


# Returns a payout with its wallet and current submission. Locks the payout: concurrent approvals are serialized.
_LOCK_PAYOUT: Final = sa.text("""
    SELECT payouts.wallet_id, organization_id, mode, payouts.status, payouts.attempt, held_reason,
           payouts.submission_id, submissions.status
    FROM payouts JOIN wallets ON wallets.id = payouts.wallet_id
    LEFT JOIN submissions ON submissions.id = payouts.submission_id
    WHERE payouts.id = :id FOR UPDATE OF payouts
""")


def _lock_payout(connection: sa.Connection, payout_id: uuid.UUID) -> ResolvablePayout:
    row = connection.execute(_LOCK_PAYOUT, {"id": payout_id}).one_or_none()
    if row is None:
        raise NotFound(f"There is no payout {public_id(PAYOUT, payout_id)}")
    return ResolvablePayout(payout_id, row[0], row[1], row[2], S(row[3]), *row[4:])


def _require_resolvable(payout: ResolvablePayout) -> None:
    name = public_id(PAYOUT, payout.id)
    if payout.status is S.PROCESSING and payout.submission_status in ("prepared", "unknown"):
        raise Conflict(f"{name} is still being retried with its key; wait until the key's lifetime is over")
    is_unresolved = payout.status is S.PROCESSING and payout.submission_status == "unresolved"
    if not is_unresolved and payout.held_reason is None:
        raise Conflict(
            f"{name} is {payout.status} and needs no resolution: only a payout that is on hold, or still unknown after "
            "its key's lifetime, can be resolved"
        )


# Returns the attempt's latest proposal that is neither confirmed nor expired. Locks nothing; the payout is locked.
_OPEN_PROPOSAL: Final = sa.text("""
    SELECT id, outcome, proposed_by FROM payout_resolutions
    WHERE payout_id = :id AND attempt = :attempt AND confirmed_at IS NULL AND proposed_at > :since
    ORDER BY id DESC LIMIT 1
""")

# Inserts a proposal. Locks nothing else.
_INSERT_PROPOSAL: Final = sa.text("""
    INSERT INTO payout_resolutions (id, payout_id, attempt, outcome, needs_two, reason, proposed_by, proposed_at)
    VALUES (:id, :payout_id, :attempt, :outcome, :needs_two, :reason, :by, :now)
""")

# Confirms a proposal. Locks it.
_CONFIRM_PROPOSAL: Final = sa.text("""
    UPDATE payout_resolutions SET confirmed_by = :by, confirmed_reason = :reason, confirmed_at = :now WHERE id = :id
""")


def _load_proposal(
    connection: sa.Connection,
    payout: ResolvablePayout,
    resolution: Resolution,
    reviewer: Reviewer,
    now: datetime,
) -> sa.Row[Any] | None:
    """The open proposal that this reviewer approves, or None.

    Raises:
        Conflict: it has another outcome, or the reviewer made it.

    """
    values = {"id": payout.id, "attempt": payout.attempt, "since": now - PROPOSAL_LIFETIME}
    proposal = connection.execute(_OPEN_PROPOSAL, values).one_or_none()
    if proposal is None:
        return None
    if proposal.outcome != resolution:
        raise Conflict(
            f"{proposal.proposed_by} recorded {proposal.outcome}; agree on one outcome (proposals expire in 24 hours)"
        )
    if proposal.proposed_by == reviewer.name:
        raise Conflict("You already approved this resolution. A second person must approve it.")
    return proposal


def _audit(
    connection: sa.Connection,
    payout: ResolvablePayout,
    reviewer: Reviewer,
    action: Action,
    details: dict[str, Any],
    now: datetime,
) -> None:
    actor = audit.operator_actor(payout.organization_id, payout.wallet_id)
    if reviewer.user_id is not None:
        actor = actor._replace(kind=ActorKind.USER, user_id=reviewer.user_id)
    audit.record_entries(connection, [audit.Entry(actor, action, public_id(PAYOUT, payout.id), after=details)], now)
