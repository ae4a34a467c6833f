"""Intake of payouts: one transaction for a group, a response to each request, nothing partial."""

import asyncio
import threading
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from gateway.intake.group_commit import GroupCommit, Overloaded, ShuttingDown
from gateway.intake.payout_requests import IntakeResponse
from gateway.intake.payouts import PayoutIntake
from shared import ledger
from shared.payouts.orders import PayoutOrder
from shared.platform import idempotency
from shared.platform.database import make_engine
from shared.platform.settings import Settings
from shared.platform.task_queue import TaskSender
from tests.support.payout_intake import content_of, payout_request
from tests.support.polling import until
from tests.support.world import World


def test_group_is_one_transaction_with_a_response_to_each_request(world: World, intake: PayoutIntake) -> None:
    # Given $100, and three payouts of $45 in a group
    driver_id = world.driver()
    world.leave_available(10_000)
    answers = intake.flush([payout_request(world.order(driver_id, 4_500)) for _ in range(3)])
    assert [answer.status for answer in answers] == [200, 200, 400]
    assert content_of(answers[2])["code"] == "INSUFFICIENT_FUNDS"
    ids = [content_of(answer)["id"] for answer in answers[:2]]
    assert len(set(ids)) == 2
    transactions = world.rows("SELECT count(DISTINCT xmin::text) FROM payouts WHERE driver_id = :id", id=driver_id)
    assert transactions == [(1,)]


def test_repeats_of_a_key_in_a_group_and_later_pay_once(world: World, intake: PayoutIntake) -> None:
    """The response is the same to the byte; another body is rejected."""
    driver_id = world.driver()
    requests = [payout_request(world.order(driver_id), "key-1", b"same") for _ in range(2)]
    first, second = intake.flush(requests)
    [third] = intake.flush([payout_request(world.order(driver_id), "key-1", b"same")])
    [other] = intake.flush([payout_request(world.order(driver_id), "key-1", b"another")])
    assert (first.replayed, second.replayed, third.replayed) == (False, True, True)
    assert first.body == second.body == third.body
    assert (other.status, content_of(other)["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert world.rows("SELECT count(*) FROM payouts WHERE driver_id = :id", id=driver_id) == [(1,)]


def test_error_is_replayed_even_after_its_cause_is_gone(world: World, intake: PayoutIntake) -> None:
    driver_id = world.driver("pending", "pending")
    [first] = intake.flush([payout_request(world.order(driver_id), "key-2")])
    world.execute("UPDATE drivers SET status = 'active', kyc_status = 'verified' WHERE id = :id", id=driver_id)
    [again] = intake.flush([payout_request(world.order(driver_id), "key-2")])
    assert (first.status, again.status, again.replayed) == (422, 422, True)
    assert again.body == first.body


def test_key_expires_after_48_hours(world: World, intake: PayoutIntake) -> None:
    driver_id = world.driver()
    intake.flush([payout_request(world.order(driver_id), "key-3")])
    world.clock.advance(hours=47)
    [kept] = intake.flush([payout_request(world.order(driver_id), "key-3")])
    world.clock.advance(hours=2)
    [fresh] = intake.flush([payout_request(world.order(driver_id), "key-3")])
    assert (kept.replayed, fresh.replayed) == (True, False)


def test_key_used_at_two_gateways_at_once_pays_once(world: World, settings: Settings, task_sender: TaskSender) -> None:
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
def test_connection_lost_during_commit_pays_once(
    world: World, settings: Settings, task_sender: TaskSender, committed: bool
) -> None:
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


def test_order_that_breaks_the_statement_fails_alone(world: World, intake: PayoutIntake) -> None:
    """An unforeseen error (here: text that Postgres rejects) fails only its own request, with a 500."""
    driver_id = world.driver()
    poison = world.order(driver_id)._replace(description="a NUL \0 in the text")
    orders = [world.order(driver_id), world.order(driver_id), poison, world.order(driver_id), world.order(driver_id)]
    answers = intake.flush([payout_request(order) for order in orders])
    assert [answer.status for answer in answers] == [200, 200, 500, 200, 200]
    assert world.rows("SELECT count(*) FROM payouts WHERE driver_id = :id", id=driver_id) == [(4,)]
    world.assert_ledger_consistent()


def test_requests_that_arrive_during_a_flush_form_the_next_one() -> None:
    """At most `group_size` items form a group; more than `queue_size` are rejected, and all after closing."""
    groups: list[list[int]] = []
    begun, may_finish = threading.Event(), threading.Event()

    def flush(items: Any) -> list[int]:
        groups.append(list(items))
        begun.set()
        may_finish.wait(5)
        return [item * 10 for item in items]

    async def scenario() -> list[Any]:
        commits: GroupCommit[int, int] = GroupCommit("test", flush, queue_size=5, group_size=3)
        first = asyncio.create_task(commits.submit(0))
        await asyncio.to_thread(begun.wait, 5)
        rest = [asyncio.create_task(commits.submit(number)) for number in range(1, 7)]
        await asyncio.sleep(0)
        may_finish.set()
        answers = await asyncio.gather(first, *rest, return_exceptions=True)
        await commits.close()
        with pytest.raises(ShuttingDown):
            await commits.submit(9)
        return answers

    answers = asyncio.run(scenario())
    assert answers[:6] == [0, 10, 20, 30, 40, 50]
    assert isinstance(answers[6], Overloaded)
    assert groups == [[0], [1, 2, 3], [4, 5]]


def test_locked_wallet_delays_only_its_own_payouts(world: World, intake: PayoutIntake, engine: sa.Engine) -> None:
    """The locked wallet's own payouts wait in order, and are answered once it is unlocked, even during shutdown."""
    other = World(engine)
    mine, theirs = world.driver(), other.driver()
    world.leave_available(45_000)
    done: list[str] = []

    async def submit(name: str, order: PayoutOrder) -> IntakeResponse:
        answer = await intake.submit(payout_request(order))
        done.append(name)
        return answer

    async def scenario() -> list[IntakeResponse]:
        with engine.begin() as locking:
            ledger.lock_wallets(locking, [world.wallet_id])
            waiting = [asyncio.create_task(submit(f"locked {n}", world.order(mine))) for n in range(2)]
            together = [asyncio.create_task(submit(f"free {n}", other.order(theirs))) for n in range(2)]
            await asyncio.gather(*together)
            waiting.append(asyncio.create_task(submit("locked 2", world.order(mine))))
            await submit("free 2", other.order(theirs))
            assert not any(task.done() for task in waiting)
            closing = asyncio.create_task(intake.close())
        answers = await asyncio.gather(*waiting)
        await closing
        return answers

    answers = asyncio.run(scenario())
    assert done == ["free 0", "free 1", "free 2", "locked 0", "locked 1", "locked 2"]
    # The balance covers only the first payout
    assert [answer.status for answer in answers] == [200, 400, 400]
    world.assert_ledger_consistent()


def test_unlocked_wallet_does_not_wait_for_another_locked_one(
    world: World, intake: PayoutIntake, engine: sa.Engine
) -> None:
    other = World(engine)
    mine, theirs = world.driver(), other.driver()

    async def scenario() -> None:
        with engine.begin() as locking:
            ledger.lock_wallets(locking, [world.wallet_id])
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

    asyncio.run(scenario())


def waiting_for_locks(world: World) -> int:
    """The number of transactions that wait for a row lock."""
    found = world.rows("""
        SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()
    """)
    return int(str(found[0][0]))


def test_requests_with_one_request_id_get_answers_of_their_own(world: World, intake: PayoutIntake) -> None:
    """X-Request-Id is a label chosen by the client, not an identity."""
    driver_id = world.driver()
    same = [payout_request(world.order(driver_id))._replace(request_id="the same") for _ in range(3)]
    assert len({content_of(answer)["id"] for answer in intake.flush(same)}) == 3


def test_response_stored_meanwhile_under_the_same_key_is_found(
    world: World, intake: PayoutIntake, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a request of another kind that stores its response between our look-up and our store
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
