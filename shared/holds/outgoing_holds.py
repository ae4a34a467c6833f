"""Placing and lifting holds, and which there are. No function here commits."""

import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa
import structlog

from shared.identity import audit
from shared.platform.ids import WALLET, new_id, public_id
from shared.schema.audit import Action
from shared.schema.controls import HoldKind, Violation
from shared.schema.payouts import Rail

logger = structlog.get_logger(__name__)

HOLD_REASON_LENGTH_MAX = 500


class HoldScope(NamedTuple):
    """What waits: a wallet's money, a rail's, or, with neither, all."""

    wallet_id: uuid.UUID | None = None
    rail: Rail | None = None

    @property
    def name(self) -> str:
        """`wallet`, `rail` or `all`."""
        return "wallet" if self.wallet_id else "rail" if self.rail else "all"


class HoldRow(NamedTuple):
    """A hold; see `shared.schema.tables.holds.OutgoingHold`."""

    id: uuid.UUID
    kind: HoldKind
    scope: HoldScope
    organization: str | None
    """The name of the wallet's organization."""
    mode: str | None
    reason: str
    placed_by: str
    since: datetime


def place_hold(
    connection: sa.Connection, kind: HoldKind, scope: HoldScope, reason: str, placed_by: str, now: datetime
) -> uuid.UUID | None:
    """Holds outgoing money, from the commit on. Returns the hold's id; None if that kind holds the scope already."""
    hold_id: uuid.UUID | None = connection.scalar(
        sa.text("""
            INSERT INTO outgoing_holds (id, kind, wallet_id, rail, reason, placed_by, since)
            VALUES (:id, :kind, :wallet_id, :rail, :reason, :placed_by, clock_timestamp())
            ON CONFLICT (kind, wallet_id, rail) WHERE lifted_at IS NULL DO NOTHING RETURNING id
        """),
        {
            "id": new_id(),
            "kind": kind.value,
            "wallet_id": scope.wallet_id,
            "rail": scope.rail and scope.rail.value,
            "reason": reason[:HOLD_REASON_LENGTH_MAX],
            "placed_by": placed_by,
        },
    )
    if hold_id is not None:
        action = Action.OUTGOING_FREEZE if kind is HoldKind.FROZEN else Action.OUTGOING_PAUSE
        _audit(
            connection, action, scope, {"reason": reason[:HOLD_REASON_LENGTH_MAX]}, now, by_us=kind is HoldKind.FROZEN
        )
    return hold_id


def freeze_outgoing(connection: sa.Connection, breaks: Iterable[Violation], now: datetime) -> list[HoldScope]:
    """Freezes the outgoing money of each wallet that a break is about, and all of it for one that nobody can place.
    Returns what was not frozen before.
    """
    first: dict[HoldScope, Violation] = {}
    for one in breaks:
        first.setdefault(HoldScope(one.wallet_id), one)
    frozen = []
    for scope, one in first.items():
        reason = f"{one.invariant}: {one.explanation}"
        if place_hold(connection, HoldKind.FROZEN, scope, reason, f"invariant:{one.invariant}", now) is None:
            continue
        frozen.append(scope)
        logger.error(
            "outgoing.frozen",
            scope=scope.name,
            wallet=scope.wallet_id and public_id(WALLET, scope.wallet_id),
            invariant=one.invariant,
            why=one.explanation,
            hint="nothing leaves for Paystream; look at `ovnpay pause --list`, mend it, prove it with `ovnpay verify`, "
            "then `ovnpay wallet unfreeze --reason ...`",
        )
    return frozen


def lift_hold(
    connection: sa.Connection, kind: HoldKind, scope: HoldScope, reason: str, lifted_by: str, now: datetime
) -> HoldRow | None:
    """Lifts a hold: what waited is due at once. Returns it as it was; None if there is none."""
    found = next((row for row in load_active_holds(connection) if (row.kind, row.scope) == (kind, scope)), None)
    if found is None:
        return None
    lifted = connection.execute(
        sa.text("""
            UPDATE outgoing_holds
            SET lifted_at = clock_timestamp(), lifted_by = :lifted_by, lifted_reason = :reason
            WHERE id = :id AND lifted_at IS NULL
        """),
        {"id": found.id, "lifted_by": lifted_by, "reason": reason[:HOLD_REASON_LENGTH_MAX]},
    )
    if lifted.rowcount == 0:
        return None
    _due_again(connection, scope)
    action = Action.OUTGOING_UNFREEZE if kind is HoldKind.FROZEN else Action.OUTGOING_RESUME
    _audit(connection, action, scope, {"reason": reason[:HOLD_REASON_LENGTH_MAX]}, now, before={"reason": found.reason})
    return found


def _due_again(connection: sa.Connection, scope: HoldScope) -> None:
    """Makes due what the tick has put off. What another hold still covers is put off again."""
    conditions = ["true"]
    if scope.wallet_id:
        conditions.append("wallet_id = :wallet_id")
    if scope.rail:
        conditions.append("rail = :rail")
    for table, waits in (
        ("payouts", "status = 'queued'"),
        ("submissions", "status IN ('prepared', 'unknown') AND lease_token IS NULL"),
    ):
        connection.execute(
            sa.text(f"""
                UPDATE {table} SET next_action_at = clock_timestamp() WHERE id IN (
                    SELECT id FROM {table} WHERE next_action_at > clock_timestamp() AND {waits}
                           AND {" AND ".join(conditions)} FOR UPDATE SKIP LOCKED)
            """),
            {"wallet_id": scope.wallet_id, "rail": scope.rail and scope.rail.value},
        )


def load_active_holds(connection: sa.Connection) -> Sequence[HoldRow]:
    """The holds that hold, the oldest first."""
    rows = connection.execute(
        sa.text("""
            SELECT hold.id, kind, wallet_id, rail, organizations.name, mode, reason, placed_by, since
            FROM outgoing_holds AS hold LEFT JOIN wallets ON wallets.id = wallet_id
            LEFT JOIN organizations ON organizations.id = organization_id
            WHERE lifted_at IS NULL ORDER BY since, hold.id
        """)
    )
    return [
        HoldRow(row.id, HoldKind(row.kind), HoldScope(row.wallet_id, row.rail and Rail(row.rail)), *row[4:])
        for row in rows
    ]


def _audit(
    connection: sa.Connection,
    action: Action,
    scope: HoldScope,
    after: dict[str, str],
    now: datetime,
    *,
    before: dict[str, str] | None = None,
    by_us: bool = False,
) -> None:
    """Writes it in the wallet's log; what is about everybody's money, in everybody's."""
    owners = connection.execute(
        sa.text(
            "SELECT organization_id, id FROM wallets WHERE id = :id"
            if scope.wallet_id
            else "SELECT id AS organization_id, NULL AS id FROM organizations"
        ),
        {"id": scope.wallet_id},
    ).all()
    shown = public_id(WALLET, scope.wallet_id) if scope.wallet_id else (scope.rail.value if scope.rail else "all")
    entries = []
    for row in owners:
        by = audit.operator_actor(row.organization_id, row.id)
        if by_us:
            by = audit.system_actor(row.organization_id, row.id)
        entries.append(audit.Entry(by, action, shown, before, after))
    audit.record_entries(connection, entries, now)
