"""An organization with a funded sandbox wallet, on a real database, and a clock set by hand."""

import itertools
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from shared import ledger
from shared.batches.create import NewBatch, insert_batch
from shared.batches.release import release_queued_batches
from shared.batches.rows import BatchRef, ReleasedBatch
from shared.controls.invariants import INVARIANTS_BY_NAME, check_invariants
from shared.identity import api_keys
from shared.identity.audit import Actor
from shared.onboarding.organizations import NewOrganization, open_organization
from shared.payouts import submissions
from shared.payouts.accept import accept_payouts
from shared.payouts.lifecycle import Move, transition_payouts
from shared.payouts.orders import PayoutOrder, load_order_context
from shared.payouts.queue import queue_validated_payouts
from shared.payouts.rows import PayoutRow
from shared.payouts.submission_leases import LeasedSubmission, claim_submissions
from shared.platform.errors import DomainError
from shared.platform.ids import new_id
from shared.schema.audit import ActorKind
from shared.schema.batch_rows import BatchRow
from shared.schema.controls import Violation
from shared.schema.organizations import Mode
from shared.schema.payouts import PayoutStatus, Rail

GRACE = timedelta(seconds=2)
_numbers = itertools.count(1)


class ManualClock:
    """A clock that only tests move."""

    def __init__(self) -> None:
        self.moment = datetime.now(UTC)

    def now(self) -> datetime:
        """Return the current time."""
        return self.moment

    def advance(self, **duration: float) -> None:
        """Move the clock forward."""
        self.moment += timedelta(**duration)


@dataclass
class World:
    """An organization with a funded sandbox wallet, and the steps that tests take with it; each commits."""

    engine: sa.Engine
    clock: ManualClock = field(default_factory=ManualClock)
    organization_id: uuid.UUID = field(init=False)
    wallet_id: uuid.UUID = field(init=False)
    sandbox_key: str = field(init=False)

    def __post_init__(self) -> None:
        self.sandbox_key = api_keys.generate_key(Mode.SANDBOX)
        opening = NewOrganization(
            name="Carrier",
            owner_email=f"owner-{uuid.uuid4().hex}@carrier.example",
            owner_password="a password",
            sandbox_key=self.sandbox_key,
            production_key=api_keys.generate_key(Mode.PRODUCTION),
        )
        with self.engine.begin() as connection:
            organization_id = open_organization(connection, opening, "a pepper for tests", self.clock.now())
            wallet_id = connection.scalar(
                sa.text("SELECT id FROM wallets WHERE organization_id = :id AND mode = 'sandbox'"),
                {"id": organization_id},
            )
        assert isinstance(wallet_id, uuid.UUID)
        self.organization_id, self.wallet_id = organization_id, wallet_id

    @property
    def actor(self) -> Actor:
        """An API key of the wallet, in a request of its own."""
        return Actor(ActorKind.KEY, self.organization_id, self.wallet_id, None, new_id(), "192.0.2.7", uuid.uuid4())

    def driver(self, status: str = "active", kyc_status: str = "verified") -> uuid.UUID:
        """Add a driver that the provider knows."""
        driver_id = new_id()
        self.execute(
            """
            INSERT INTO drivers (id, wallet_id, ovn_driver_id, name, email, status, kyc_status, recipient_id,
                                 created_at, updated_at)
            VALUES (:id, :wallet_id, :ovn, 'Dora Driver', 'dora@drivers.example', :status, :kyc, :recipient, :now, :now)
            """,
            id=driver_id,
            wallet_id=self.wallet_id,
            ovn=f"OVN-{next(_numbers)}",
            status=status,
            kyc=kyc_status,
            recipient=f"rec_{driver_id.hex}",
            now=self.clock.now(),
        )
        return driver_id

    def order(self, driver_id: uuid.UUID, amount_cents: int = 45_000, rail: Rail = Rail.STANDARD) -> PayoutOrder:
        """Return an order for a payout."""
        return PayoutOrder(new_id(), self.wallet_id, driver_id, str(driver_id), amount_cents, rail)

    def accept(self, *orders: PayoutOrder) -> list[PayoutRow | DomainError]:
        """Accept orders in one transaction."""
        with self.engine.begin() as connection:
            known = load_order_context(connection, orders)
            available = ledger.lock_wallets(connection, {order.wallet_id for order in orders})
            return accept_payouts(connection, orders, known, available, self.clock.now(), grace=GRACE)

    def accepted(self, count: int = 1, rail: Rail = Rail.STANDARD, amount_cents: int = 45_000) -> list[uuid.UUID]:
        """Accept that many payouts to one driver."""
        driver_id = self.driver()
        rows = self.accept(*(self.order(driver_id, amount_cents, rail) for _ in range(count)))
        assert all(isinstance(row, PayoutRow) for row in rows), rows
        return [row.id for row in rows if isinstance(row, PayoutRow)]

    def queued(self, count: int = 1, rail: Rail = Rail.STANDARD) -> list[uuid.UUID]:
        """Queue that many payouts."""
        payout_ids = self.accepted(count, rail)
        with self.engine.begin() as connection:
            queue_validated_payouts(connection, payout_ids, self.clock.now(), grace=GRACE)
        return payout_ids

    def leased_submission(self, count: int = 1, rail: Rail = Rail.STANDARD) -> tuple[list[uuid.UUID], LeasedSubmission]:
        """Prepare and lease one submission of that many payouts."""
        payout_ids = self.queued(count, rail)
        with self.engine.begin() as connection:
            prepared = submissions.prepare_submissions(connection, payout_ids, self.clock.now(), reason="test")
            [held] = claim_submissions(connection, prepared.submission_ids, lease_seconds=60)
        return payout_ids, held

    def execute(self, statement: str, **values: object) -> None:
        """Run a statement in a transaction of its own."""
        with self.engine.begin() as connection:
            connection.execute(sa.text(statement), values)

    def rows(self, statement: str, **values: object) -> list[tuple[object, ...]]:
        """Return the rows of a query."""
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(sa.text(statement), values)]

    def statuses(self, payout_ids: list[uuid.UUID]) -> list[str]:
        """Return the statuses of payouts, in order."""
        found = dict(self.rows("SELECT id, status FROM payouts WHERE id = ANY(:ids)", ids=payout_ids))
        return [str(found[payout_id]) for payout_id in payout_ids]

    def history(self, payout_id: uuid.UUID) -> list[str]:
        """Return the statuses that a payout has had."""
        rows = self.rows(
            "SELECT to_status FROM payout_transitions WHERE payout_id = :id ORDER BY sequence", id=payout_id
        )
        return [str(row[0]) for row in rows]

    def transfers(self, payout_id: uuid.UUID) -> list[tuple[str, int]]:
        """Return the kinds and amounts of a payout's transfers, in order."""
        rows = self.rows(
            "SELECT kind, amount_cents FROM transfers WHERE payout_id = :id ORDER BY position", id=payout_id
        )
        return [(str(kind), int(str(cents))) for kind, cents in rows]

    def events(self, payout_id: uuid.UUID) -> list[str]:
        """Return the types of a payout's customer events, in order."""
        rows = self.rows("SELECT type FROM customer_events WHERE payout_id = :id ORDER BY sequence", id=payout_id)
        return [str(row[0]) for row in rows]

    def balances(self) -> ledger.Balances:
        """Return the balances of the wallet."""
        with self.engine.connect() as connection:
            return ledger.load_balances(connection, self.wallet_id)

    def leave_available(self, cents: int) -> None:
        """Reserve the rest of the balance for another payout."""
        surplus = self.balances().available_cents - cents
        [row] = self.accept(self.order(self.driver(), surplus))
        assert isinstance(row, PayoutRow)

    def batch(
        self, *amounts_cents: int, scheduled_for: datetime | None = None, driver_ids: Sequence[uuid.UUID] = ()
    ) -> tuple[BatchRow, list[uuid.UUID]]:
        """Create a batch of payouts of these amounts, each to a driver of its own unless some are given."""
        batch_id = new_id()
        drivers = list(driver_ids) or [self.driver() for _ in amounts_cents]
        orders = [
            self.order(driver_id, cents)._replace(batch_id=batch_id)
            for driver_id, cents in zip(drivers, amounts_cents, strict=True)
        ]
        new = NewBatch(batch_id, self.wallet_id, "Weekly", Rail.STANDARD, scheduled_for, orders)
        with self.engine.begin() as connection:
            row, payouts = insert_batch(connection, new, load_order_context(connection, orders), self.clock.now())
        return row, [payout.id for payout in payouts]

    def release(self, batch_id: uuid.UUID) -> ReleasedBatch | DomainError:
        """Release a batch."""
        with self.engine.begin() as connection:
            asked = [BatchRef(batch_id, self.wallet_id)]
            by = {self.wallet_id: self.actor}
            return release_queued_batches(connection, asked, self.clock.now(), by=by, grace=GRACE)[batch_id]

    def batch_status(self, batch_id: uuid.UUID) -> str:
        """Return the status of a batch."""
        [(status,)] = self.rows("SELECT status FROM batches WHERE id = :id", id=batch_id)
        return str(status)

    def end(self, payout_ids: Sequence[uuid.UUID], target: PayoutStatus) -> None:
        """Move queued payouts to a final status, as a provider event does."""
        with self.engine.begin() as connection:
            now = self.clock.now()
            submissions.prepare_submissions(connection, payout_ids, now, reason="test")
            moves = [Move(payout_id, "test", failure_code="X", failure_message="x") for payout_id in payout_ids]
            transition_payouts(connection, moves, PayoutStatus.PROCESSING, target, now)

    def assert_counters_match(self) -> None:
        """Assert that every stored counter equals a count, for this wallet and those of all other tests."""
        assert (
            self.rows("""
            SELECT wallet_id, name, count, actual FROM list_counts LEFT JOIN LATERAL (
                SELECT CASE
                    WHEN name = 'payouts' THEN (SELECT count(*) FROM payouts WHERE payouts.wallet_id = kept.wallet_id)
                    WHEN name LIKE 'payouts:%' THEN (SELECT count(*) FROM payouts
                        WHERE payouts.wallet_id = kept.wallet_id AND 'payouts:' || status = name)
                    ELSE (SELECT count(*) FROM transfers
                        WHERE transfers.wallet_id = kept.wallet_id AND 'transfers:' || kind = name)
                    END AS actual FROM (SELECT list_counts.wallet_id) AS kept
            ) AS counted ON true WHERE count <> actual
        """)
            == []
        )
        assert (
            self.rows("""
            SELECT drivers.id FROM drivers LEFT JOIN LATERAL (
                SELECT count(*) AS all, count(*) FILTER (WHERE status IN ('validated', 'queued', 'processing')) AS open,
                       coalesce(sum(amount_cents - fee_cents) FILTER (WHERE status = 'completed'), 0) AS cents
                FROM payouts WHERE driver_id = drivers.id
            ) AS counted ON true WHERE (payout_count, pending_payouts, total_paid_cents) <> (counted.all, open, cents)
        """)
            == []
        )
        assert (
            self.rows("""
            SELECT batches.id FROM batches LEFT JOIN LATERAL (
                SELECT count(*) AS all, count(*) FILTER (WHERE status IN ('validated', 'queued', 'processing')) AS open,
                       count(*) FILTER (WHERE status = 'completed') AS paid FROM payouts WHERE batch_id = batches.id
            ) AS counted ON true WHERE (payout_count, open_payouts, paid_payouts) <> (counted.all, open, paid)
        """)
            == []
        )

    def assert_ledger_consistent(self) -> None:
        """Assert the ledger invariants, for this wallet and those of all other tests."""
        assert [
            proof.violations
            for proof in check_invariants(self.engine, [INVARIANTS_BY_NAME["accounts"], INVARIANTS_BY_NAME["balances"]])
        ] == [[], []]

    def violations(self, *names: str) -> list[Violation]:
        """Return the violations in this wallet of all invariants or of some."""
        invariants = [INVARIANTS_BY_NAME[name] for name in names or INVARIANTS_BY_NAME]
        return [
            one for proof in check_invariants(self.engine, invariants, [self.wallet_id]) for one in proof.violations
        ]
