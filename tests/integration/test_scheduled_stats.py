"""Counts of scheduled batches, read while many threads create, release, cancel and complete batches."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from shared.batches import queries
from shared.batches.cancel import cancel_queued_batches
from shared.batches.rows import BatchRef, ReleasedBatch
from shared.schema.payouts import PayoutStatus
from tests.support.world import World

WORKERS, ROUNDS = 8, 9
SCHEDULED = "wallet_id = :id AND scheduled_for IS NOT NULL"


def test_every_read_is_consistent_while_batches_change(world: World) -> None:
    """Each read is between what was committed before it and what had started after it."""
    begun: Counter[str] = Counter()
    done: Counter[str] = Counter()
    counting = threading.Lock()
    stop = threading.Event()
    drivers = [world.driver() for _ in range(WORKERS)]

    def increment(counter: Counter[str], what: str) -> None:
        with counting:
            counter[what] += 1

    def change_batches(worker: int) -> None:
        for number in range(ROUNDS):
            increment(begun, "made")
            later = world.clock.now() + timedelta(days=1 + number)
            batch, payout_ids = world.batch(1_000, 2_000, scheduled_for=later, driver_ids=[drivers[worker]] * 2)
            increment(done, "made")
            if number % 3 == 0:
                increment(begun, "canceled")
                with world.engine.begin() as connection:
                    cancel_queued_batches(connection, [BatchRef(batch.id, world.wallet_id)], world.clock.now())
                increment(done, "canceled")
            elif number % 3 == 1:
                assert isinstance(world.release(batch.id), ReleasedBatch)
                world.end(payout_ids, PayoutStatus.COMPLETED if worker % 2 else PayoutStatus.FAILED)

    def read_until_stopped() -> int:
        count = 0
        while not stop.is_set():
            with counting:  # committed for certain; some may be canceled before the read
                made_before, canceled_before = done["made"], done["canceled"]
            with world.engine.connect() as connection:
                found = queries.load_scheduled_stats(connection, world.wallet_id)
            with counting:
                made_after, canceled_after = begun["made"], begun["canceled"]
            total = sum(found.by_status.values())
            assert made_before - canceled_after <= total <= made_after - canceled_before, found
            # Each queued batch costs 3,000 cents
            assert found.upcoming_cents == found.by_status["queued"] * 3_000
            assert (found.next_scheduled is None) == (found.by_status["queued"] == 0)
            count += 1
        return count

    with ThreadPoolExecutor(WORKERS + 1) as pool:
        reader = pool.submit(read_until_stopped)
        try:
            for worker in [pool.submit(change_batches, worker) for worker in range(WORKERS)]:
                worker.result()
        finally:
            stop.set()
        assert reader.result() > 5
    # At the end it matches a recount
    with world.engine.connect() as connection:
        found = queries.load_scheduled_stats(connection, world.wallet_id)
    counted = dict(
        world.rows(f"SELECT status, count(*) FROM batches WHERE {SCHEDULED} GROUP BY status", id=world.wallet_id)
    )
    assert counted.pop("canceled") == WORKERS * ROUNDS // 3
    assert counted == {status: number for status, number in found.by_status.items() if number}
    assert found.by_status == {"queued": 24, "processing": 0, "completed": 12, "failed": 12}
    world.assert_counters_match()
    world.assert_ledger_consistent()
