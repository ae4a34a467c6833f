"""The intake of payouts: one transaction for a group, an answer of its own to each, and nothing half-done."""

import asyncio
import threading
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from gateway.intake.group_commit import GroupCommit, Overloaded, ShuttingDown
from gateway.intake.payouts import IntakeResponse, PayoutIntake
from shared import ledger
from shared.payouts.orders import PayoutOrder
from shared.platform import idempotency
from shared.platform.database import make_engine
from shared.platform.settings import Settings
from shared.platform.task_queue import TaskSender
from tests.support.payout_intake import content_of, payout_request
from tests.support.polling import until
from tests.support.world import World


def test_a_group_is_one_transaction_with_an_answer_for_each(world: World, intake: PayoutIntake) -> None:
    """Given $100, three payouts of $45 in one group: two succeed, the third gets its 400."""
    driver_id = world.driver()
    world.leave_available(10_000)
    answers = intake.flush([payout_request(world.order(driver_id, 4_500)) for _ in range(3)])
    assert [answer.status for answer in answers] == [200, 200, 400]
    assert content_of(answers[2])["code"] == "INSUFFICIENT_FUNDS"
    ids = [content_of(answer)["id"] for answer in answers[:2]]
    assert len(set(ids)) == 2
    transactions = world.rows("SELECT count(DISTINCT xmin::text) FROM payouts WHERE driver_id = :id", id=driver_id)
    assert transactions == [(1,)]


def test_one_key_in_one_group_and_again_later_pays_once(world: World, intake: PayoutIntake) -> None:
    """The same request three times with one key: one payout, the same bytes each time; another body is refused."""
    driver_id = world.driver()
    requests = [payout_request(world.order(driver_id), "key-1", b"same") for _ in range(2)]
    first, second = intake.flush(requests)
    [third] = intake.flush([payout_request(world.order(driver_id), "key-1", b"same")])
    [other] = intake.flush([payout_request(world.order(driver_id), "key-1", b"another")])
    assert (first.replayed, second.replayed, third.replayed) == (False, True, True)
    assert first.body == second.body == third.body
    assert (other.status, content_of(other)["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert world.rows("SELECT count(*) FROM payouts WHERE driver_id = :id", id=driver_id) == [(1,)]


def test_a_refusal_is_an_answer_and_is_given_again(world: World, intake: PayoutIntake) -> None:
    """Even if it could be paid by now: the key stands for the first answer."""
    driver_id = world.driver("pending", "pending")
    [first] = intake.flush([payout_request(world.order(driver_id), "key-2")])
    world.execute("UPDATE drivers SET status = 'active', kyc_status = 'verified' WHERE id = :id", id=driver_id)
    [again] = intake.flush([payout_request(world.order(driver_id), "key-2")])
    assert (first.status, again.status, again.replayed) == (422, 422, True)
    assert again.body == first.body


def test_a_key_is_free_again_after_48_hours(world: World, intake: PayoutIntake) -> None:
    """And not before."""
    driver_id = world.driver()
    intake.flush([payout_request(world.order(driver_id), "key-3")])
    world.clock.advance(hours=47)
    [kept] = intake.flush([payout_request(world.order(driver_id), "key-3")])
    world.clock.advance(hours=2)
    [fresh] = intake.flush([payout_request(world.order(driver_id), "key-3")])
    assert (kept.replayed, fresh.replayed) == (True, False)


def test_one_key_in_two_gateways_at_once_pays_once(world: World, settings: Settings, task_sender: TaskSender) -> None:
    """Given eight gateways, each with the same request at the same moment: one payout."""
    driver_id = world.driver()
    answers: list[IntakeResponse] = []
    barrier = threading.Barrier(8)

    def gateway() -> None:
        intake = PayoutIntake(settings, world.engine, task_sender, world.clock)
        barrier.wait()
        answers.extend(intake.flush([payout_request(world.order(driver_id), "key-4", b"same")]))

    threads = [threading.Thread(target=gateway) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({answer.body for answer in answers}) == 1
    assert sorted(answer.replayed for answer in answers) == [False] + [True] * 7
    assert world.rows("SELECT count(*) FROM payouts WHERE driver_id = :id", id=driver_id) == [(1,)]


@pytest.mark.parametrize("committed", [True, False])
def test_a_connection_lost_during_commit_pays_once(
    world: World, settings: Settings, task_sender: TaskSender, committed: bool
) -> None:
    """Whether the commit had happened or not, the client gets its answer and there is one payout."""
    engine = make_engine(settings, "lossy", pool_size=2)
    lost: list[bool] = []

    @sa.event.listens_for(engine, "commit")
    def lose(connection: sa.Connection) -> None:
        if not lost:
            lost.append(True)
            if committed:
                connection.connection.driver_connection.commit()  # type: ignore[union-attr]
            else:
                connection.connection.driver_connection.rollback()  # type: ignore[union-attr]
            raise OperationalError("COMMIT", {}, Exception("server closed the connection unexpectedly"))

    driver_id = world.driver()
    before = world.balances().available_cents
    [answer] = PayoutIntake(settings, engine, task_sender, world.clock).flush([payout_request(world.order(driver_id))])
    engine.dispose()
    assert lost == [True]
    assert answer.status == 200
    assert world.rows("SELECT count(*) FROM payouts WHERE driver_id = :id", id=driver_id) == [(1,)]
    assert before - world.balances().available_cents == 45_000
    world.assert_ledger_consistent()


def test_an_order_that_breaks_the_statement_does_not_take_its_neighbours_along(
    world: World, intake: PayoutIntake
) -> None:
    """Something no check foresaw (here: a text that Postgres refuses) fails alone, with a 500 and no money moved."""
    driver_id = world.driver()
    poison = world.order(driver_id)._replace(description="a NUL \0 in the text")
    orders = [world.order(driver_id), world.order(driver_id), poison, world.order(driver_id), world.order(driver_id)]
    answers = intake.flush([payout_request(order) for order in orders])
    assert [answer.status for answer in answers] == [200, 200, 500, 200, 200]
    assert world.rows("SELECT count(*) FROM payouts WHERE driver_id = :id", id=driver_id) == [(4,)]
    world.assert_ledger_consistent()


def test_requests_that_arrive_during_a_flush_form_the_next_one() -> None:
    """One at once when idle, the rest together, at most `group_size`; too many are refused, none after closing."""
    groups: list[list[int]] = []
    begun, gate = threading.Event(), threading.Event()

    def flush(items: Any) -> list[int]:
        groups.append(list(items))
        begun.set()
        gate.wait(5)
        return [item * 10 for item in items]

    async def story() -> list[Any]:
        commits: GroupCommit[int, int] = GroupCommit("test", flush, queue_size=5, group_size=3)
        first = asyncio.create_task(commits.submit(0))
        await asyncio.to_thread(begun.wait, 5)
        rest = [asyncio.create_task(commits.submit(number)) for number in range(1, 7)]
        await asyncio.sleep(0)
        gate.set()
        answers = await asyncio.gather(first, *rest, return_exceptions=True)
        await commits.close()
        with pytest.raises(ShuttingDown):
            await commits.submit(9)
        return answers

    answers = asyncio.run(story())
    assert answers[:6] == [0, 10, 20, 30, 40, 50]
    assert isinstance(answers[6], Overloaded)
    assert groups == [[0], [1, 2, 3], [4, 5]]


def test_a_wallet_that_is_held_keeps_nobody_elses_payout_waiting(
    world: World, intake: PayoutIntake, engine: sa.Engine
) -> None:
    """Given a wallet locked by a large batch: another wallet's payouts are accepted meanwhile; its own wait, keep
    their order, and are answered once it is free, even by a gateway that is closing.
    """
    neighbour = World(engine)
    mine, theirs = world.driver(), neighbour.driver()
    world.leave_available(45_000)
    done: list[str] = []

    async def submit(name: str, order: PayoutOrder) -> IntakeResponse:
        answer = await intake.submit(payout_request(order))
        done.append(name)
        return answer

    async def story() -> list[IntakeResponse]:
        with engine.begin() as holder:
            ledger.lock_wallets(holder, [world.wallet_id])
            waiting = [asyncio.create_task(submit(f"held {n}", world.order(mine))) for n in range(2)]
            together = [asyncio.create_task(submit(f"free {n}", neighbour.order(theirs))) for n in range(2)]
            await asyncio.gather(*together)
            waiting.append(asyncio.create_task(submit("held 2", world.order(mine))))
            await submit("free 2", neighbour.order(theirs))
            assert not any(task.done() for task in waiting)
            closing = asyncio.create_task(intake.close())
        answers = await asyncio.gather(*waiting)
        await closing
        return answers

    answers = asyncio.run(story())
    assert done == ["free 0", "free 1", "free 2", "held 0", "held 1", "held 2"]
    # The money reached for one: the first that came
    assert [answer.status for answer in answers] == [200, 400, 400]
    world.assert_ledger_consistent()


def test_a_wallet_that_is_free_again_waits_for_no_other_that_is_held(
    world: World, intake: PayoutIntake, engine: sa.Engine
) -> None:
    """Given two held wallets of which one is let go, as by a settlement: its requests are answered at once."""
    other = World(engine)
    mine, theirs = world.driver(), other.driver()

    async def story() -> None:
        with engine.begin() as holder:
            ledger.lock_wallets(holder, [world.wallet_id])
            with engine.begin() as brief:
                ledger.lock_wallets(brief, [other.wallet_id])
                long = asyncio.create_task(intake.submit(payout_request(world.order(mine, 900))))
                short = asyncio.create_task(intake.submit(payout_request(other.order(theirs, 900))))
                await asyncio.to_thread(until, lambda: waiting_for_locks(world) == 2, "both wait", 5, 0.01)
            assert (await short).status == 200
            assert (await intake.submit(payout_request(other.order(theirs, 900)))).status == 200
            assert not long.done()
        assert (await long).status == 200
        await intake.close()

    asyncio.run(story())


def waiting_for_locks(world: World) -> int:
    """How many transactions wait for a row."""
    found = world.rows("""
        SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()
    """)
    return int(str(found[0][0]))


def test_requests_with_one_request_id_get_answers_of_their_own(world: World, intake: PayoutIntake) -> None:
    """A client may send the same X-Request-Id twice: it is a label, and identifies nothing."""
    driver_id = world.driver()
    same = [payout_request(world.order(driver_id))._replace(request_id="the same") for _ in range(3)]
    assert len({content_of(answer)["id"] for answer in intake.flush(same)}) == 3


def test_a_key_answered_elsewhere_in_the_meantime_is_noticed(
    world: World, intake: PayoutIntake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given another kind of request that stores its answer between our look-up and our store, ours is refused."""
    driver_id = world.driver()
    storing, looks = idempotency.store_answers_query, []

    def lose_then_store(answers: Any, now: Any) -> Any:
        looks.append(True)
        if len(looks) == 1:
            with world.engine.begin() as other:
                answer = idempotency.StoredAnswer(world.wallet_id, "key-5", b"another request", 200, b"{}")
                idempotency.store_answers(other, [answer], now)
        return storing(answers, now)

    monkeypatch.setattr(idempotency, "store_answers_query", lose_then_store)
    [got] = intake.flush([payout_request(world.order(driver_id), "key-5")])
    assert (got.status, content_of(got)["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert world.rows("SELECT count(*) FROM payouts WHERE driver_id = :id", id=driver_id) == [(0,)]
