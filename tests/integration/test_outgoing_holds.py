"""Outgoing holds: what is held does not leave, wherever it is by then; lifted, it leaves exactly once."""

import json
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from deploy.local.postgres import EmbeddedPostgres
from shared.cli.operator import outgoing_holds as commands
from shared.cli.operator.verify import run_verification
from shared.holds import outgoing_holds
from shared.holds.outgoing_holds import HoldScope
from shared.operations import due_rows
from shared.payouts.dispatch import select_for_dispatch
from shared.payouts.submission_leases import LeasedSubmission, claim_submissions
from shared.payouts.timeline import load_timeline
from shared.platform.clock import SystemClock
from shared.platform.ids import WALLET, public_id
from shared.platform.settings import Settings
from shared.platform.task_queue import TaskSender
from shared.schema.controls import HoldKind, Violation
from shared.schema.payouts import Rail
from tests.integration.stub_provider import ReceivedRequest, client_of_stub, provider_response
from tests.support.polling import until
from tests.support.world import World
from workers.context import Context
from workers.submissions import send_instant_submissions, send_leased

BY_NAME = {kind.name: kind for kind in due_rows.DUE_KINDS}


@contextmanager
def held(world: World, scope: HoldScope) -> Iterator[Callable[[], None]]:
    """Money is paused until the end, or until what this yields is called."""

    def lift() -> None:
        with world.engine.begin() as connection:
            outgoing_holds.lift_hold(connection, HoldKind.PAUSED, scope, "over", "a test", world.clock.now())

    with world.engine.begin() as connection:
        assert outgoing_holds.place_hold(connection, HoldKind.PAUSED, scope, "a test", "a test", world.clock.now())
    try:
        yield lift
    finally:
        lift()


def instant(world: World, count: int = 1) -> list[uuid.UUID]:
    """The submissions of that many instant payouts, accepted."""
    payout_ids = world.accepted(count, Rail.INSTANT)
    rows = world.rows("SELECT submission_id FROM payouts WHERE id = ANY(:ids) ORDER BY id", ids=payout_ids)
    return [uuid.UUID(str(row[0])) for row in rows]


def claimed(world: World, submission_ids: list[uuid.UUID]) -> list[LeasedSubmission]:
    """What a worker would send now."""
    with world.engine.begin() as connection:
        return claim_submissions(connection, submission_ids, lease_seconds=60)


def leaving(world: World, payout_ids: list[uuid.UUID]) -> list[uuid.UUID]:
    """What would be submitted now."""
    with world.engine.begin() as connection:
        return select_for_dispatch(connection, payout_ids, lambda mode: 0.0)


def taken(asked: ReceivedRequest) -> tuple[int, dict[str, str], bytes]:
    """Paystream takes what is sent, and finds nothing that it is asked for."""
    if asked.method == "GET":
        return provider_response([])
    return provider_response({**json.loads(asked.body), "id": f"pay_{asked.key}", "status": "created"})


@pytest.mark.parametrize("scope", ["wallet", "rail", "all"])
def test_what_is_held_is_neither_submitted_nor_sent(world: World, scope: str) -> None:
    """Whatever is queued, retried, released with a batch, or instant; what the hold does not cover goes on."""
    other = World(world.engine)
    queued, same_day = world.queued(2), world.queued(1, Rail.SAME_DAY)
    [batch, ids] = world.batch(30_000)
    submissions, elsewhere = instant(world), instant(other)
    chosen = {"wallet": HoldScope(world.wallet_id), "rail": HoldScope(rail=Rail.INSTANT), "all": HoldScope()}[scope]
    with held(world, chosen) as lift:
        # A batch is released all the same: its money is reserved, and waits like the others'.
        world.release(batch.id)
        waits = scope != "rail"
        assert set(leaving(world, [*queued, *same_day, *ids])) == (set() if waits else {*queued, *same_day, *ids})
        assert world.statuses([*queued, *same_day, *ids]) == ["queued"] * 4
        assert claimed(world, submissions) == []
        assert len(claimed(other, elsewhere)) == (1 if scope == "wallet" else 0)
        lift()
        assert set(leaving(world, [*queued, *same_day, *ids])) == {*queued, *same_day, *ids}
        assert [one.id for one in claimed(world, submissions)] == submissions


def test_the_tick_leaves_alone_what_is_held_and_lifting_makes_it_due(world: World) -> None:
    """It is looked at once, not every second; and at once when it may leave."""
    [payout_id], [submission_id] = world.queued(), instant(world)
    past = "UPDATE {} SET next_action_at = clock_timestamp() - interval '1 s' WHERE id = :id"

    def ticked(kind: str) -> due_rows.ClaimedRows:
        with world.engine.begin() as connection:
            return due_rows.claim_due_rows(connection, BY_NAME[kind], limit=10_000, again_seconds=10)

    with held(world, HoldScope(world.wallet_id)) as lift:
        world.execute(past.format("payouts"), id=payout_id)
        world.execute(past.format("submissions"), id=submission_id)
        for kind, row_id in (("payouts_queued", payout_id), ("submissions_instant", submission_id)):
            first, second = ticked(kind), ticked(kind)
            assert row_id not in first.ids
            assert first.looked_at > len(first.ids)
            assert second.looked_at == 0
        lift()
        assert payout_id in ticked("payouts_queued").ids
        assert submission_id in ticked("submissions_instant").ids


def test_the_timeline_says_that_it_is_held(world: World) -> None:
    """Not why: an operator's words are not the customer's to read."""
    [queued], [sent] = world.queued(), world.accepted(1, Rail.INSTANT)
    with held(world, HoldScope(world.wallet_id)), world.engine.connect() as connection:
        for payout_id in (queued, sent):
            told = load_timeline(connection, world.wallet_id, payout_id, world.clock.now())
            assert told is not None
            assert told.next is not None
            assert told.next.sentence.startswith("Held: outgoing payments are paused")
            assert "a test" not in told.next.sentence


def test_what_may_be_at_paystream_is_looked_up_and_sent_again_only_when_it_may_leave(
    world: World, settings: Settings
) -> None:
    """Given a submission whose answer was lost, when money is held, then Paystream is asked, and not paid."""
    submissions = instant(world)
    claimed(world, submissions)
    world.execute(
        "UPDATE submissions SET status = 'unknown', lease_expires_at = now() WHERE id = ANY(:i)", i=submissions
    )
    with client_of_stub(settings, taken) as (client, asked), held(world, HoldScope(world.wallet_id)) as lift:
        task_sender = TaskSender(settings)
        context = Context(settings, world.engine, task_sender, client, SystemClock())
        send_instant_submissions(context, submissions)
        assert {one.method for one in asked} == {"GET"}
        assert world.rows("SELECT status FROM submissions WHERE id = ANY(:ids)", ids=submissions) == [("unknown",)]
        lift()
        send_instant_submissions(context, submissions)
        task_sender.close()
    assert [one.method for one in asked].count("POST") == 1
    assert world.rows("SELECT status FROM submissions WHERE id = ANY(:ids)", ids=submissions) == [("accepted",)]


def test_a_turn_that_comes_after_the_hold_is_not_taken(world: World, settings: Settings) -> None:
    """Given a worker that holds a submission, and was stopped for two seconds: it looks again, and sends nothing."""
    submissions = instant(world)
    [mine] = claimed(world, submissions)
    late = mine._replace(recheck_after=0.0)
    with client_of_stub(settings, taken) as (client, asked), held(world, HoldScope(rail=Rail.INSTANT)) as lift:
        task_sender = TaskSender(settings)
        context = Context(settings, world.engine, task_sender, client, SystemClock())
        send_leased(context, [late])
        assert asked == []
        [(status, sent_at)] = world.rows("SELECT status, first_sent_at FROM submissions WHERE id = :id", id=mine.id)
        assert (status, sent_at) == ("prepared", None)
        lift()
        send_instant_submissions(context, submissions)
        task_sender.close()
    assert [one.key for one in asked] == [public_id("sub", mine.id)]


def test_a_pause_while_workers_send_is_heard_within_two_seconds(world: World, settings: Settings) -> None:
    """Given 40 instant payouts and a slow Paystream, when money is paused in the midst, then the last call begins
    within two seconds; after it is resumed each is paid once.
    """
    submissions = instant(world, 40)
    arrived: list[tuple[float, str]] = []

    def slowly(asked: ReceivedRequest) -> tuple[int, dict[str, str], bytes]:
        if asked.method == "POST":
            arrived.append((time.monotonic(), str(asked.key)))
        time.sleep(0.2)
        return taken(asked)

    with client_of_stub(settings, slowly, paystream_concurrency=4) as (client, _):
        task_sender = TaskSender(settings)
        context = Context(settings, world.engine, task_sender, client, SystemClock())

        def work(places: slice) -> None:
            send_leased(context, claimed(world, submissions[places]))

        # Four threads have claimed all; only four calls are made at a time
        workers = [threading.Thread(target=work, args=(slice(place, 40, 4),)) for place in range(4)]
        for worker in workers:
            worker.start()
        until(lambda: len(arrived) >= 6, "calls have begun", pause_seconds=0.01)
        with held(world, HoldScope(world.wallet_id)):
            paused_at = time.monotonic()
            for worker in workers:
                worker.join()
            sent = len(arrived)
            assert max(at for at, _ in arrived) - paused_at < 2
            assert sent < 40
            work(slice(None))
            assert len(arrived) == sent
        work(slice(None))
        task_sender.close()
    assert Counter(key for _, key in arrived) == Counter(public_id("sub", one) for one in submissions)


@pytest.fixture
def operator(world: World, postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A shell on the installation, with the services' login; the name of the world's organization."""
    monkeypatch.setenv("OVNPAY_DATABASE_URL", postgres.service_url)
    monkeypatch.setenv("OVNPAY_REDIS_URL", "redis://127.0.0.1:9")
    name = f"Carrier {world.wallet_id.hex}"
    world.execute("UPDATE organizations SET name = :name WHERE id = :id", name=name, id=world.organization_id)
    yield name
    world.execute("UPDATE outgoing_holds SET lifted_at = now() WHERE lifted_at IS NULL")


def shown(capsys: pytest.CaptureFixture[str]) -> Any:
    """What `ovnpay pause --list --json` prints."""
    capsys.readouterr()
    commands.print_holds(as_json=True)
    return json.loads(capsys.readouterr().out)


def test_a_break_freezes_the_wallet_until_somebody_says_why_it_may_go_on(
    world: World, operator: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """By `ovnpay verify`, with a plain explanation and exit code 1; again where it is still broken; audited."""
    [payout_id] = world.queued()
    run_verification([], operator, as_json=True, freeze=True)
    assert json.loads(capsys.readouterr().out)["holds"] is True
    world.execute("UPDATE payouts SET sequence = sequence + 1 WHERE id = :id", id=payout_id)
    # When it is only looked at
    with pytest.raises(SystemExit, match="1"):
        run_verification(["histories"], operator, as_json=True, freeze=False)
    said = json.loads(capsys.readouterr().out)
    [broken] = said["invariants"][0]["breaks"]
    # Then it is explained, and nothing is held
    assert "its history ends at queued after 2 steps" in broken["explanation"]
    assert (said["holds"], broken["wallet"], said["frozen"]) == (False, public_id(WALLET, world.wallet_id), [])
    assert shown(capsys) == []
    # When it is not only looked at, once or twice
    for _ in range(2):
        with pytest.raises(SystemExit, match="1"):
            run_verification(["histories"], operator, as_json=False, freeze=True)
    # Then the wallet is frozen, once
    [hold] = shown(capsys)
    assert (hold["kind"], hold["organization"], hold["placedBy"]) == ("frozen", operator, "invariant:histories")
    assert leaving(world, [payout_id]) == []
    # And it pays again with a reason, and not without one
    with pytest.raises(SystemExit, match="2"):
        commands.unfreeze_wallet(operator, "sandbox", None, "  ", everything=False)
    commands.unfreeze_wallet(operator, "sandbox", None, "a counter was changed by hand", everything=False)
    assert leaving(world, [payout_id]) == [payout_id]
    # And is frozen again while it is broken
    with pytest.raises(SystemExit, match="1"):
        run_verification(["histories"], operator, as_json=False, freeze=True)
    assert leaving(world, [payout_id]) == []
    found = world.rows(
        """SELECT action, actor_kind, after ->> 'reason' FROM audit_entries
           WHERE wallet_id = :id AND action LIKE 'outgoing.%' ORDER BY id""",
        id=world.wallet_id,
    )
    assert [row[:2] for row in found] == [
        ("outgoing.freeze", "system"),
        ("outgoing.unfreeze", "operator"),
        ("outgoing.freeze", "system"),
    ]
    assert found[1][2] == "a counter was changed by hand"


def test_pause_and_resume_say_what_they_do(world: World, operator: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A reason is needed; whose money is one thing; twice is once; frozen and paused are lifted apart."""
    for wrong in (
        lambda: commands.pause_outgoing(operator, "sandbox", None, None, everything=False),
        lambda: commands.pause_outgoing(operator, "sandbox", None, " ", everything=False),
        lambda: commands.pause_outgoing(operator, "sandbox", "instant", "x", everything=False),
        lambda: commands.pause_outgoing(None, "sandbox", "pigeon", "x", everything=False),
        lambda: commands.pause_outgoing("Nobody", "sandbox", None, "x", everything=False),
        lambda: commands.pause_outgoing(None, "sandbox", None, "x", everything=False),
    ):
        with pytest.raises(SystemExit, match="2"):
            wrong()
    with pytest.raises(SystemExit, match="1"):
        commands.resume_outgoing(operator, "sandbox", None, None, everything=False)
    for _ in range(2):
        commands.pause_outgoing(operator, "sandbox", None, "a duplicate file", everything=False)
    commands.pause_outgoing(None, "sandbox", "same_day", "the bank is closed", everything=False)
    commands.pause_outgoing(None, "sandbox", None, "an incident", everything=True)
    assert [(one["kind"], one["scope"], one["reason"]) for one in shown(capsys)] == [
        ("paused", "wallet", "a duplicate file"),
        ("paused", "rail", "the bank is closed"),
        ("paused", "all", "an incident"),
    ]
    commands.resume_outgoing(operator, "sandbox", None, None, everything=False)
    assert "still paused: all outgoing money" in capsys.readouterr().err
    assert len(shown(capsys)) == 2


def test_a_break_that_nobody_can_place_freezes_all(world: World, operator: str) -> None:
    """Better all wait than one is paid wrongly."""
    with world.engine.begin() as connection:
        assert outgoing_holds.freeze_outgoing(connection, [Violation("a_law", None, "x")], world.clock.now()) == [
            HoldScope()
        ]
    assert leaving(world, world.queued()) == []
