"""A wallet with a random history of payouts, and its expected analytics, computed from the ledger row by row."""

import math
import random
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from shared.batches.cancel import cancel_queued_batches as cancel_batch
from shared.batches.rows import BatchRef
from shared.payouts import submissions
from shared.payouts.cancel import cancel_wallet_payouts
from shared.payouts.lifecycle import Move, transition_payouts
from shared.payouts.queue import queue_validated_payouts
from shared.payouts.retry import retry_wallet_payouts
from shared.reporting.analytics import time_zones
from shared.reporting.analytics.fold import fold_wallet
from shared.schema.payouts import PayoutStatus as S
from shared.schema.payouts import Rail
from tests.support.world import GRACE, World

CODES = ("BANK_REJECTED", "ACCOUNT_CLOSED", "INVALID_RECIPIENT")
BEGIN = datetime(2026, 10, 20, 3, 7, 11, tzinfo=UTC)
"""Days before clocks are set back in Europe, and then in America."""


class PayoutHistory:
    """A wallet whose payouts take random steps."""

    def __init__(self, world: World, seed: int, time_zone: str = "America/Chicago") -> None:
        self.world, self.random = world, random.Random(seed)
        world.clock.moment = BEGIN
        self.drivers = [world.driver() for _ in range(5)]
        self.set_time_zone(time_zone)

    def set_time_zone(self, name: str) -> None:
        [(organization_id,)] = self.world.rows(
            "SELECT organization_id FROM wallets WHERE id = :id", id=self.world.wallet_id
        )
        assert isinstance(organization_id, uuid.UUID)
        with self.world.engine.begin() as connection:
            time_zones.set_time_zone(connection, organization_id, name)
        self.zone = ZoneInfo(name)

    def run_steps(self, steps: int) -> None:
        """Take random steps, with seconds to hours in between."""
        actions = [self._accept, self._accept, self._batch, self._queue, self._end, self._end, self._end, self._return]
        actions += [self._retry, self._cancel]
        for _ in range(steps):
            self.world.clock.advance(seconds=self.random.choice([0.4, 20, 700, 9_000, 40_000]) * self.random.random())
            self.random.choice(actions)()

    def fold(self, limit: int) -> int | None:
        with self.world.engine.begin() as connection:
            return fold_wallet(connection, self.world.wallet_id, limit=limit)

    def _sample(self, status: S) -> list[uuid.UUID]:
        rows = self.world.rows(
            "SELECT id FROM payouts WHERE wallet_id = :id AND status = :status AND (reserved OR status <> 'validated') "
            "ORDER BY id",
            id=self.world.wallet_id,
            status=status.value,
        )
        found = [row[0] for row in rows if isinstance(row[0], uuid.UUID)]
        return self.random.sample(found, min(len(found), self.random.randint(1, 4)))

    def _order(self) -> Any:
        rail = self.random.choice(list(Rail))
        return self.world.order(self.random.choice(self.drivers), self.random.randint(1_000, 30_000), rail)

    def _accept(self) -> None:
        self.world.accept(*(self._order() for _ in range(self.random.randint(1, 3))))

    def _batch(self) -> None:
        amounts = [self.random.randint(1_000, 20_000) for _ in range(3)]
        batch, _ = self.world.batch(*amounts, driver_ids=[self.random.choice(self.drivers) for _ in amounts])
        self.world.clock.advance(minutes=self.random.randint(1, 600))
        if self.random.random() < 0.7:
            self.world.release(batch.id)
            return
        with self.world.engine.begin() as connection:
            cancel_batch(connection, [BatchRef(batch.id, self.world.wallet_id)], self.world.clock.now())

    def _queue(self) -> None:
        with self.world.engine.begin() as connection:
            queue_validated_payouts(connection, self._sample(S.VALIDATED), self.world.clock.now(), grace=GRACE)
            submissions.prepare_submissions(connection, self._sample(S.QUEUED), self.world.clock.now(), reason="test")

    def _move(self, source: S, target: S) -> None:
        code = self.random.choice(CODES) if target in (S.FAILED, S.RETURNED) else None
        with self.world.engine.begin() as connection:
            moves = [Move(payout_id, "test", failure_code=code) for payout_id in self._sample(source)]
            transition_payouts(connection, moves, source, target, self.world.clock.now())

    def _end(self) -> None:
        self._move(S.PROCESSING, S.COMPLETED if self.random.random() < 0.6 else S.FAILED)

    def _return(self) -> None:
        if self.random.random() < 0.3:
            self._move(S.COMPLETED, S.RETURNED)

    def _retry(self) -> None:
        with self.world.engine.begin() as connection:
            retry_wallet_payouts(
                connection, self.world.wallet_id, self._sample(S.FAILED), self.world.clock.now(), grace=GRACE
            )

    def _cancel(self) -> None:
        with self.world.engine.begin() as connection:
            if self.random.random() < 0.3:  # canceled by us: it has a code
                moves = [Move(one, "test", failure_code="KYC_REJECTED") for one in self._sample(S.VALIDATED)]
                transition_payouts(connection, moves, S.VALIDATED, S.CANCELED, self.world.clock.now())
            else:
                payout_ids = self._sample(S.VALIDATED)
                cancel_wallet_payouts(connection, self.world.wallet_id, payout_ids, self.world.clock.now())

    def ledger(self) -> "ExpectedTotals":
        """Load the wallet's transfers and transitions."""
        rows = self.world.rows(
            """
            SELECT transfers.kind, transfers.attempt, transfers.amount_cents, transfers.created_at, rail, driver_id,
                   transfers.payout_id
            FROM transfers JOIN payouts ON payouts.id = payout_id WHERE transfers.wallet_id = :id
            """,
            id=self.world.wallet_id,
        )
        steps = self.world.rows(
            """
            SELECT payout_id, payout_transitions.attempt, to_status, payout_transitions.failure_code
            FROM payout_transitions JOIN payouts ON id = payout_id WHERE wallet_id = :id
            """,
            id=self.world.wallet_id,
        )
        return ExpectedTotals([Transfer(*row) for row in rows], {row[:3]: row[3] for row in steps}, self.zone)

    @contextmanager
    def snapshot(self) -> Iterator[sa.Connection]:
        """Open a transaction with one snapshot."""
        isolated = self.world.engine.execution_options(isolation_level="REPEATABLE READ")
        with isolated.connect() as connection, connection.begin():
            yield connection

    def ranges(self) -> Iterator[tuple[date | datetime, date | datetime]]:
        """Yield ranges of days, of times, and of both, short and long."""
        now = self.world.clock.now()
        whole = (now - BEGIN).total_seconds()
        yield date(2026, 1, 1), date(2027, 6, 1)
        for kind in ("times", "days", "both"):
            length = self.random.choice([0.02, 0.2, 0.8])
            first = BEGIN + timedelta(seconds=whole * self.random.random() * (1 - length))
            last = first + timedelta(seconds=whole * length)
            day = first.astimezone(self.zone).date()
            if kind == "times":
                yield first, last
            else:
                yield (
                    day,
                    last + timedelta(days=1) if kind == "both" else day + timedelta(days=self.random.randint(1, 9)),
                )


@dataclass(frozen=True)
class Transfer:
    """A transfer, with its payout's rail and driver."""

    kind: Any
    attempt: Any
    cents: Any
    at: Any
    rail: Any
    driver_id: Any
    payout_id: Any


@dataclass
class ExpectedTotals:
    """Expected values, computed without `shared.reporting.analytics`."""

    moves: list[Transfer]
    steps: dict[Any, Any]
    zone: ZoneInfo
    reserved_at: dict[Any, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.reserved_at = {one.payout_id: one.at for one in self.moves if one.kind == "reserve" and one.attempt == 1}

    def day(self, at: datetime) -> date:
        return at.astimezone(self.zone).date()

    def within(self, first: date | datetime, last: date | datetime) -> "ExpectedTotals":
        """Return the values of a range."""

        def not_before(one: Transfer, moment: date | datetime) -> bool:
            return bool(one.at >= moment) if isinstance(moment, datetime) else self.day(one.at) >= moment

        inside = [one for one in self.moves if not_before(one, first) and not not_before(one, last)]
        made = ExpectedTotals(inside, self.steps, self.zone)
        made.reserved_at = self.reserved_at
        return made

    def by(self, name: str) -> dict[Any, "ExpectedTotals"]:
        """Group by rail, driver or local day."""
        groups: defaultdict[Any, list[Transfer]] = defaultdict(list)
        for one in self.moves:
            groups[self.day(one.at) if name == "day" else getattr(one, name)].append(one)
        made = {}
        for key, moves in groups.items():
            made[key] = ExpectedTotals(moves, self.steps, self.zone)
            made[key].reserved_at = self.reserved_at
        return made

    def sums(self) -> dict[str, int]:
        """Return counts and cents, by column of the sums."""
        made: defaultdict[str, int] = defaultdict(int)
        for one in self.moves:
            name = {"settle": "net", "fee": "fee", "return": "returned"}.get(one.kind)
            if one.kind == "reserve":
                name = "accepted" if one.attempt == 1 else "retried"
            elif one.kind == "release":
                name = "failed" if (one.payout_id, one.attempt, "failed") in self.steps else "canceled"
            assert name
            made[f"{name}_cents"] += one.cents
            if name != "fee":
                made["paid_count" if name == "net" else f"{name}_count"] += 1
        return dict(made)

    def percentile(self, share: float) -> float | None:
        """Return the exact percentile in seconds."""
        paid = [one for one in self.moves if one.kind == "settle"]
        waits = sorted(max((one.at - self.reserved_at[one.payout_id]).total_seconds(), 0.1) for one in paid)
        return waits[math.ceil(share * len(waits)) - 1] if waits else None

    def failures(self) -> dict[tuple[str, str], list[int]]:
        """Return count, cents and recovered count, by outcome and code."""
        made: defaultdict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
        for one in self.moves:
            if one.kind == "settle" and one.attempt > 1:
                made["failed", self.steps[one.payout_id, one.attempt - 1, "failed"]][2] += 1
            for outcome in ("failed", "canceled", "returned"):
                code = self.steps.get((one.payout_id, one.attempt, outcome))
                if code and one.kind == ("return" if outcome == "returned" else "release"):
                    made[outcome, code][0] += 1
                    made[outcome, code][1] += one.cents
        return dict(made)
