"""A busy wallet: payouts in every status, moved there as in production."""

import json
import uuid
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from shared import ledger
from shared.identity import audit
from shared.payouts import submissions
from shared.payouts.accept import accept_payouts
from shared.payouts.cancel import cancel_wallet_payouts
from shared.payouts.orders import load_order_context
from shared.payouts.provider_results import record_outcome
from shared.payouts.retry import retry_wallet_payouts
from shared.payouts.submission_leases import LeasedSubmission, claim_submissions
from shared.platform import idempotency
from shared.platform.clock import format_rfc3339
from shared.platform.idempotency import StoredAnswer
from shared.platform.ids import PAYOUT, public_id
from shared.provider.outcomes import Accepted, CallOutcome, Rejected, Unknown
from shared.schema.audit import Action
from shared.schema.payouts import Rail
from tests.support.provider_steps import accepted_answer, apply_events, store_webhooks, webhook_body
from tests.support.webhooks import add_endpoint
from tests.support.world import GRACE, World

NET_CENTS = 44_500


@dataclass
class BusyWallet:
    """A wallet with payouts in every status, by name."""

    world: World
    payouts: dict[str, uuid.UUID] = field(default_factory=dict)
    payments: dict[str, str] = field(default_factory=dict)
    """The provider's ids of their payments."""

    def submit(self, name: str, outcome: CallOutcome | None = None, rail: Rail = Rail.SAME_DAY) -> LeasedSubmission:
        """Submit a payout and record the outcome; by default the provider accepts it."""
        [self.payouts[name]], held = self.world.leased_submission(rail=rail)
        self.record(name, held, outcome)
        return held

    def record(self, name: str, held: LeasedSubmission, outcome: CallOutcome | None = None) -> None:
        """Record an outcome."""
        outcome = outcome or accepted_answer(held)
        with self.world.engine.begin() as connection:
            record_outcome(connection, held, outcome, self.world.clock.now(), poll_after=timedelta(minutes=1))
        if isinstance(outcome, Accepted):
            self.payments[name] = outcome.data["id"]

    def update(self, name: str, *states: str, **data: Any) -> None:
        """Apply webhooks, one after the other."""
        for state in states:
            body = webhook_body(self.payments[name], state, **{"amount_cents": NET_CENTS, **data})
            apply_events(self.world, store_webhooks(self.world, body))

    def fill(self) -> None:
        """Create all payouts."""
        world = self.world
        add_endpoint(world)
        world.clock.advance(minutes=2)
        self.payouts["asked"] = self.request("a key")
        for name, states in {
            "completed": ("created", "processing", "completed", "completed"),
            "failed": ("failed", "created"),
            "returned": ("completed", "returned"),
            "processing": ("processing",),
            "held": ("processing",),
            "retried": ("failed",),
        }.items():
            self.submit(name)
            self.update(name, *states)
        self.update("held", "completed", amount_cents=1)
        self.submit("refused", Rejected("INVALID_RECIPIENT", "no"))
        self.submit("unknown", Unknown("no answer within 10 s"))
        [self.payouts["validated"]] = world.accepted()
        [self.payouts["queued"]] = world.queued()
        [self.payouts["instant"]] = world.accepted(rail=Rail.INSTANT)
        [self.payouts["canceled"]] = world.queued()
        with world.engine.begin() as connection:
            now = world.clock.now()
            cancel_wallet_payouts(connection, world.wallet_id, [self.payouts["canceled"]], now)
            retry_wallet_payouts(connection, world.wallet_id, [self.payouts["retried"]], now, grace=GRACE)
            prepared = submissions.prepare_submissions(connection, [self.payouts["retried"]], now, reason="test")
            [held] = claim_submissions(connection, prepared.submission_ids, lease_seconds=60)
        self.record("retried", held)
        self.update("retried", "completed")
        self.fill_batches()

    def fill_batches(self) -> None:
        """Create batches: one released, with a payout that the provider rejects, and one scheduled."""
        world = self.world
        for name, scheduled_for in (("released", None), ("waiting", world.clock.now() + timedelta(days=1))):
            batch, ids = world.batch(30_000, 40_000, 50_000, scheduled_for=scheduled_for)
            self.payouts[f"{name}_batch"] = batch.id
            self.payouts[f"{name}_payout"] = ids[1]
        world.release(self.payouts["released_batch"])
        ids = [
            row[0]
            for row in world.rows("SELECT id FROM payouts WHERE batch_id = :id", id=self.payouts["released_batch"])
        ]
        with world.engine.begin() as connection:
            prepared = submissions.prepare_submissions(connection, ids, world.clock.now(), reason="test")  # type: ignore[arg-type]
            [held] = claim_submissions(connection, prepared.submission_ids, lease_seconds=60)
        with world.engine.begin() as connection:
            refused = Rejected("INVALID_RECIPIENT", "one of them")
            halves = record_outcome(
                connection, held, refused, world.clock.now(), poll_after=timedelta(minutes=1)
            ).submissions
            for half in claim_submissions(connection, halves, lease_seconds=60):
                record_outcome(
                    connection, half, accepted_answer(half), world.clock.now(), poll_after=timedelta(minutes=1)
                )

    def request(self, key: str) -> uuid.UUID:
        """Request a payout with an Idempotency-Key, as the gateway does."""
        world, actor = self.world, self.world.actor
        order = world.order(world.driver())
        with world.engine.begin() as connection:
            now = world.clock.now()
            known, available = (
                load_order_context(connection, [order]),
                ledger.lock_wallets(connection, [world.wallet_id]),
            )
            accept_payouts(connection, [order], known, available, now, grace=GRACE)
            facts = {"amount": order.amount_cents, **idempotency.audit_key_hash(key)}
            audit.record_entries(
                connection, [audit.Entry(actor, Action.PAYOUT_CREATE, public_id(PAYOUT, order.id), None, facts)], now
            )
            answer = {
                "success": True,
                "data": {"id": public_id(PAYOUT, order.id)},
                "meta": {"timestamp": format_rfc3339(now)},
            }
            stored = StoredAnswer(world.wallet_id, key, b"x", 200, json.dumps(answer).encode())
            idempotency.store_answers(connection, [stored], now)
        return order.id
