"""A busy wallet: payouts in every state that there is, by the ways on which they really come there."""

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
class Busy:
    """One wallet in which everything happens, and the payouts by how they ended."""

    world: World
    payouts: dict[str, uuid.UUID] = field(default_factory=dict)
    payments: dict[str, str] = field(default_factory=dict)
    """The provider's ids of their payments."""

    def submitted(self, name: str, outcome: CallOutcome | None = None, rail: Rail = Rail.SAME_DAY) -> LeasedSubmission:
        """A payout that was sent, and what came back; by default the provider takes it."""
        [self.payouts[name]], held = self.world.leased_submission(rail=rail)
        self.answer(name, held, outcome)
        return held

    def answer(self, name: str, held: LeasedSubmission, outcome: CallOutcome | None = None) -> None:
        """Records what came back."""
        outcome = outcome or accepted_answer(held)
        with self.world.engine.begin() as connection:
            record_outcome(connection, held, outcome, self.world.clock.now(), poll_after=timedelta(minutes=1))
        if isinstance(outcome, Accepted):
            self.payments[name] = outcome.data["id"]

    def told(self, name: str, *states: str, **data: Any) -> None:
        """Webhooks come, one after the other."""
        for state in states:
            body = webhook_body(self.payments[name], state, **{"amount_cents": NET_CENTS, **data})
            apply_events(self.world, store_webhooks(self.world, body))

    def live(self) -> None:
        """Everything happens."""
        world = self.world
        add_endpoint(world)
        world.clock.advance(minutes=2)
        self.payouts["asked"] = self.asked("a key")
        for name, states in {
            "completed": ("created", "processing", "completed", "completed"),
            "failed": ("failed", "created"),
            "returned": ("completed", "returned"),
            "processing": ("processing",),
            "held": ("processing",),
            "retried": ("failed",),
        }.items():
            self.submitted(name)
            self.told(name, *states)
        self.told("held", "completed", amount_cents=1)
        self.submitted("refused", Rejected("INVALID_RECIPIENT", "no"))
        self.submitted("unknown", Unknown("no answer within 10 s"))
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
        self.answer("retried", held)
        self.told("retried", "completed")
        self.together()

    def together(self) -> None:
        """Batches: one released of which the provider refuses a payout, one that waits, one called off; and a wallet's
        standard payouts that travel in one call.
        """
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

    def asked(self, key: str) -> uuid.UUID:
        """A payout by a request with an Idempotency-Key, as the gateway's intake writes it down."""
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
