"""Place, lift and list outgoing holds. No function here commits."""

import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, NamedTuple

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
    """What a hold covers: a wallet, a rail, or with neither all outgoing money."""

    wallet_id: uuid.UUID | None = None
    rail: Rail | None = None

    @property
    def name(self) -> str:
        """`wallet`, `rail` or `all`."""
        return "wallet" if self.wallet_id else "rail" if self.rail else "all"


class HoldRow(NamedTuple):
    """An active hold; see `shared.schema.tables.holds.OutgoingHold`."""

    id: uuid.UUID
    kind: HoldKind
    scope: HoldScope
    organization: str | None
    """The name of the wallet's organization."""
    mode: str | None
    reason: str
    placed_by: str
    since: datetime


# Inserts the hold unless that kind covers the scope already; locks nothing else.
_PLACE_HOLD: Final = sa.text("""
    INSERT INTO outgoing_holds (id, kind, wallet_id, rail, reason, placed_by, since)
    VALUES (:id, :kind, :wallet_id, :rail, :reason, :placed_by, clock_timestamp())
    ON CONFLICT (kind, wallet_id, rail) WHERE lifted_at IS NULL DO NOTHING RETURNING id
""")


def place_hold(
    connection: sa.Connection, kind: HoldKind, scope: HoldScope, reason: str, placed_by: str, now: datetime
) -> uuid.UUID | None:
    """Put outgoing money on hold from the commit on; return the id, or None if that kind covers the scope already."""
    hold_id: uuid.UUID | None = connection.scalar(
        _PLACE_HOLD,
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
        automatic = kind is HoldKind.FROZEN
        action = Action.OUTGOING_FREEZE if automatic else Action.OUTGOING_PAUSE
        _audit(connection, action, scope, {"reason": reason[:HOLD_REASON_LENGTH_MAX]}, now, automatic=automatic)
    return hold_id


def freeze_outgoing(connection: sa.Connection, violations: Iterable[Violation], now: datetime) -> list[HoldScope]:
    """Freeze the wallets with a violation, or all outgoing money if one has no wallet; return the new scopes."""
    first: dict[HoldScope, Violation] = {}
    for one in violations:
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
            hint="no money is sent to Paystream; see `ovnpay pause --list`, repair the cause, check it with "
            "`ovnpay verify`, then run `ovnpay wallet unfreeze --reason ...`",
        )
    return frozen


# Lifts a hold; locks its row.
_LIFT_HOLD: Final = sa.text("""
    UPDATE outgoing_holds
    SET lifted_at = clock_timestamp(), lifted_by = :lifted_by, lifted_reason = :reason
    WHERE id = :id AND lifted_at IS NULL
""")


def lift_hold(
    connection: sa.Connection, kind: HoldKind, scope: HoldScope, reason: str, lifted_by: str, now: datetime
) -> HoldRow | None:
    """Lift a hold and make due what waited for it; return the hold as it was, or None."""
    found = next((row for row in load_active_holds(connection) if (row.kind, row.scope) == (kind, scope)), None)
    if found is None:
        return None
    lifted = connection.execute(
        _LIFT_HOLD, {"id": found.id, "lifted_by": lifted_by, "reason": reason[:HOLD_REASON_LENGTH_MAX]}
    )
    if lifted.rowcount == 0:
        return None
    _make_due(connection, scope)
    action = Action.OUTGOING_UNFREEZE if kind is HoldKind.FROZEN else Action.OUTGOING_RESUME
    after = {"reason": reason[:HOLD_REASON_LENGTH_MAX]}
    _audit(connection, action, scope, after, now, before={"reason": found.reason})
    return found


# Rows that another hold covers are postponed again by the tick. Skips locked rows.
def _make_due(connection: sa.Connection, scope: HoldScope) -> None:
    conditions = ["true"]
    if scope.wallet_id:
        conditions.append("wallet_id = :wallet_id")
    if scope.rail:
        conditions.append("rail = :rail")
    for table, waiting in (
        ("payouts", "status = 'queued'"),
        ("submissions", "status IN ('prepared', 'unknown') AND lease_token IS NULL"),
    ):
        connection.execute(
            sa.text(f"""
                UPDATE {table} SET next_action_at = clock_timestamp() WHERE id IN (
                    SELECT id FROM {table} WHERE next_action_at > clock_timestamp() AND {waiting}
                           AND {" AND ".join(conditions)} FOR UPDATE SKIP LOCKED)
            """),
            {"wallet_id": scope.wallet_id, "rail": scope.rail and scope.rail.value},
        )


# Active holds with the names to show; locks nothing.
_ACTIVE_HOLDS: Final = sa.text("""
    SELECT hold.id, kind, wallet_id, rail, organizations.name, mode, reason, placed_by, since
    FROM outgoing_holds AS hold LEFT JOIN wallets ON wallets.id = wallet_id
    LEFT JOIN organizations ON organizations.id = organization_id
    WHERE lifted_at IS NULL ORDER BY since, hold.id
""")


def load_active_holds(connection: sa.Connection) -> Sequence[HoldRow]:
    """Return the active holds, oldest first."""
    return [
        HoldRow(row.id, HoldKind(row.kind), HoldScope(row.wallet_id, row.rail and Rail(row.rail)), *row[4:])
        for row in connection.execute(_ACTIVE_HOLDS)
    ]


# A scope without a wallet is recorded for every organization.
def _audit(
    connection: sa.Connection,
    action: Action,
    scope: HoldScope,
    after: dict[str, str],
    now: datetime,
    *,
    before: dict[str, str] | None = None,
    automatic: bool = False,
) -> None:
    owners = connection.execute(
        sa.text(
            "SELECT organization_id, id FROM wallets WHERE id = :id"
            if scope.wallet_id
            else "SELECT id AS organization_id, NULL AS id FROM organizations"
        ),
        {"id": scope.wallet_id},
    ).all()
    target = public_id(WALLET, scope.wallet_id) if scope.wallet_id else (scope.rail.value if scope.rail else "all")
    entries = []
    for row in owners:
        actor = (audit.system_actor if automatic else audit.operator_actor)(row.organization_id, row.id)
        entries.append(audit.Entry(actor, action, target, before, after))
    audit.record_entries(connection, entries, now)
