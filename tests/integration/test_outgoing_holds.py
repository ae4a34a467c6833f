"""Outgoing holds: money on hold is not sent, at any stage; after the hold is lifted it is sent exactly once."""

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
def outgoing_hold(world: World, scope: HoldScope) -> Iterator[Callable[[], None]]:
    """Pause outgoing money until the end, or until the yielded function is called."""

    def lift() -> None:
        with world.engine.begin() as connection:
            outgoing_holds.lift_hold(connection, HoldKind.PAUSED, scope, "over", "a test", world.clock.now())

    with world.engine.begin() as connection:
        assert outgoing_holds.place_hold(connection, HoldKind.PAUSED, scope, "a test", "a test", world.clock.now())
    try:
        yield lift
    finally:
        lift()


def instant_submissions(world: World, count: int = 1) -> list[uuid.UUID]:
    """Accept so many instant payouts; return their submissions."""
    payout_ids = world.accepted(count, Rail.INSTANT)
    rows = world.rows("SELECT submission_id FROM payouts WHERE id = ANY(:ids) ORDER BY id", ids=payout_ids)
    return [uuid.UUID(str(row[0])) for row in rows]


def claim(world: World, submission_ids: list[uuid.UUID]) -> list[LeasedSubmission]:
    """Claim the submissions, as a worker does before it sends them."""
    with world.engine.begin() as connection:
        return claim_submissions(connection, submission_ids, lease_seconds=60)


def selected_for_dispatch(world: World, payout_ids: list[uuid.UUID]) -> list[uuid.UUID]:
    """Return the payouts that would be submitted now."""
    with world.engine.begin() as connection:
        return select_for_dispatch(connection, payout_ids, lambda mode: 0.0)


def accept_payments(request: ReceivedRequest) -> tuple[int, dict[str, str], bytes]:
    """Respond as Paystream: accept each payment, and find none that is looked up."""
    if request.method == "GET":
        return provider_response([])
    return provider_response({**json.loads(request.body), "id": f"pay_{request.key}", "status": "created"})


@pytest.mark.parametrize("scope", ["wallet", "rail", "all"])
def test_money_on_hold_is_neither_submitted_nor_sent(world: World, scope: str) -> None:
    """Queued, batch and instant payouts; those that the hold does not cover are processed."""
    other = World(world.engine)
    queued, same_day = world.queued(2), world.queued(1, Rail.SAME_DAY)
    [batch, ids] = world.batch(30_000)
    submissions, elsewhere = instant_submissions(world), instant_submissions(other)
    chosen = {"wallet": HoldScope(world.wallet_id), "rail": HoldScope(rail=Rail.INSTANT), "all": HoldScope()}[scope]
    with outgoing_hold(world, chosen) as lift:
        # A batch can be released: its money is reserved, and its payouts wait like the others
        world.release(batch.id)
        waits = scope != "rail"
        assert set(selected_for_dispatch(world, [*queued, *same_day, *ids])) == (
            set() if waits else {*queued, *same_day, *ids}
        )
        assert world.statuses([*queued, *same_day, *ids]) == ["queued"] * 4
        assert claim(world, submissions) == []
        assert len(claim(other, elsewhere)) == (1 if scope == "wallet" else 0)
        lift()
        assert set(selected_for_dispatch(world, [*queued, *same_day, *ids])) == {*queued, *same_day, *ids}
        assert [one.id for one in claim(world, submissions)] == submissions


def test_the_tick_postpones_rows_on_hold_and_lifting_makes_them_due(world: World) -> None:
    """The tick checks such a row once, not every second."""
    [payout_id], [submission_id] = world.queued(), instant_submissions(world)
    past = "UPDATE {} SET next_action_at = clock_timestamp() - interval '1 s' WHERE id = :id"

    def tick(kind: str) -> due_rows.ClaimedRows:
        with world.engine.begin() as connection:
            return due_rows.claim_due_rows(connection, BY_NAME[kind], limit=10_000, again_seconds=10)

    with outgoing_hold(world, HoldScope(world.wallet_id)) as lift:
        world.execute(past.format("payouts"), id=payout_id)
        world.execute(past.format("submissions"), id=submission_id)
        for kind, row_id in (("payouts_queued", payout_id), ("submissions_instant", submission_id)):
            first, second = tick(kind), tick(kind)
            assert row_id not in first.ids
            assert first.due_count > len(first.ids)
            assert second.due_count == 0
        lift()
        assert payout_id in tick("payouts_queued").ids
        assert submission_id in tick("submissions_instant").ids


def test_the_timeline_shows_a_hold_without_its_reason(world: World) -> None:
    """The reason is an operator's note and is not shown to customers."""
    [queued], [sent] = world.queued(), world.accepted(1, Rail.INSTANT)
    with outgoing_hold(world, HoldScope(world.wallet_id)), world.engine.connect() as connection:
        for payout_id in (queued, sent):
            timeline = load_timeline(connection, world.wallet_id, payout_id, world.clock.now())
            assert timeline is not None
            assert timeline.next is not None
            assert timeline.next.sentence.startswith("On hold: outgoing payments are paused")
            assert "a test" not in timeline.next.sentence


def test_an_unknown_submission_on_hold_is_looked_up_and_sent_again_only_after_the_hold(
    world: World, settings: Settings
) -> None:
    submissions = instant_submissions(world)
    claim(world, submissions)
    world.execute(
        "UPDATE submissions SET status = 'unknown', lease_expires_at = now() WHERE id = ANY(:i)", i=submissions
    )
    with (
        client_of_stub(settings, accept_payments) as (client, requests),
        outgoing_hold(world, HoldScope(world.wallet_id)) as lift,
    ):
        task_sender = TaskSender(settings)
        context = Context(settings, world.engine, task_sender, client, SystemClock())
        send_instant_submissions(context, submissions)
        assert {one.method for one in requests} == {"GET"}
        assert world.rows("SELECT status FROM submissions WHERE id = ANY(:ids)", ids=submissions) == [("unknown",)]
        lift()
        send_instant_submissions(context, submissions)
        task_sender.close()
    assert [one.method for one in requests].count("POST") == 1
    assert world.rows("SELECT status FROM submissions WHERE id = ANY(:ids)", ids=submissions) == [("accepted",)]


def test_a_submission_leased_before_the_hold_is_not_sent_late(world: World, settings: Settings) -> None:
    """A worker that stalled after its claim checks the holds again before it sends."""
    submissions = instant_submissions(world)
    [mine] = claim(world, submissions)
    late = mine._replace(recheck_after=0.0)
    with (
        client_of_stub(settings, accept_payments) as (client, requests),
        outgoing_hold(world, HoldScope(rail=Rail.INSTANT)) as lift,
    ):
        task_sender = TaskSender(settings)
        context = Context(settings, world.engine, task_sender, client, SystemClock())
        send_leased(context, [late])
        assert requests == []
        [(status, sent_at)] = world.rows("SELECT status, first_sent_at FROM submissions WHERE id = :id", id=mine.id)
        assert (status, sent_at) == ("prepared", None)
        lift()
        send_instant_submissions(context, submissions)
        task_sender.close()
    assert [one.key for one in requests] == [public_id("sub", mine.id)]


def test_a_pause_takes_effect_within_two_seconds_while_workers_send(world: World, settings: Settings) -> None:
    """With 40 instant payouts and a slow provider. After the pause each is paid once."""
    submissions = instant_submissions(world, 40)
    arrived: list[tuple[float, str]] = []

    def accept_slowly(request: ReceivedRequest) -> tuple[int, dict[str, str], bytes]:
        if request.method == "POST":
            arrived.append((time.monotonic(), str(request.key)))
        time.sleep(0.2)
        return accept_payments(request)

    with client_of_stub(settings, accept_slowly, paystream_concurrency=4) as (client, _):
        task_sender = TaskSender(settings)
        context = Context(settings, world.engine, task_sender, client, SystemClock())

        def work(places: slice) -> None:
            send_leased(context, claim(world, submissions[places]))

        # Four threads claim them all; only four calls are made at a time
        workers = [threading.Thread(target=work, args=(slice(place, 40, 4),)) for place in range(4)]
        for worker in workers:
            worker.start()
        until(lambda: len(arrived) >= 6, "calls have begun", pause_seconds=0.01)
        with outgoing_hold(world, HoldScope(world.wallet_id)):
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
    """Configure the operator commands with the services' login; return the name of the world's organization."""
    monkeypatch.setenv("OVNPAY_DATABASE_URL", postgres.service_url)
    monkeypatch.setenv("OVNPAY_REDIS_URL", "redis://127.0.0.1:9")
    name = f"Carrier {world.wallet_id.hex}"
    world.execute("UPDATE organizations SET name = :name WHERE id = :id", name=name, id=world.organization_id)
    yield name
    world.execute("UPDATE outgoing_holds SET lifted_at = now() WHERE lifted_at IS NULL")


def listed_holds(capsys: pytest.CaptureFixture[str]) -> Any:
    """Return what `ovnpay pause --list --json` prints."""
    capsys.readouterr()
    commands.print_holds(as_json=True)
    return json.loads(capsys.readouterr().out)


def test_a_violation_freezes_the_wallet_until_an_operator_unfreezes_it_with_a_reason(
    world: World, operator: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`ovnpay verify` explains it and exits with 1; it freezes again while the violation remains. All is audited."""
    [payout_id] = world.queued()
    run_verification([], operator, as_json=True, freeze=True)
    assert json.loads(capsys.readouterr().out)["holds"] is True
    world.execute("UPDATE payouts SET sequence = sequence + 1 WHERE id = :id", id=payout_id)
    # When it runs without freezing
    with pytest.raises(SystemExit, match="1"):
        run_verification(["histories"], operator, as_json=True, freeze=False)
    report = json.loads(capsys.readouterr().out)
    [violation] = report["invariants"][0]["breaks"]
    # Then it explains the violation and places no hold
    assert "its history ends at queued after 2 steps" in violation["explanation"]
    assert (report["holds"], violation["wallet"], report["frozen"]) == (False, public_id(WALLET, world.wallet_id), [])
    assert listed_holds(capsys) == []
    # When it runs twice with freezing
    for _ in range(2):
        with pytest.raises(SystemExit, match="1"):
            run_verification(["histories"], operator, as_json=False, freeze=True)
    # Then the wallet is frozen, once
    [hold] = listed_holds(capsys)
    assert (hold["kind"], hold["organization"], hold["placedBy"]) == ("frozen", operator, "invariant:histories")
    assert selected_for_dispatch(world, [payout_id]) == []
    # And an unfreeze needs a reason
    with pytest.raises(SystemExit, match="2"):
        commands.unfreeze_wallet(operator, "sandbox", None, "  ", everything=False)
    commands.unfreeze_wallet(operator, "sandbox", None, "a counter was changed by hand", everything=False)
    assert selected_for_dispatch(world, [payout_id]) == [payout_id]
    # And the next run freezes it again while the violation remains
    with pytest.raises(SystemExit, match="1"):
        run_verification(["histories"], operator, as_json=False, freeze=True)
    assert selected_for_dispatch(world, [payout_id]) == []
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


def test_pause_and_resume_check_their_arguments_and_report_what_still_waits(
    world: World, operator: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A reason and exactly one scope are required; pausing twice places one hold."""
    for wrong in (
        lambda: commands.pause_outgoing(operator, "sandbox", None, None, everything=False),
        lambda: commands.pause_outgoing(operator, "sandbox", None, " ", everything=False),
        lambda: commands.pause_outgoing(operator, "sandbox", "instant", "x", everything=False),
        lambda: commands.pause_outgoing(None, "sandbox", "pigeon", "x", everything=False),
        lambda: commands.pause_outgoing("Unknown", "sandbox", None, "x", everything=False),
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
    assert [(one["kind"], one["scope"], one["reason"]) for one in listed_holds(capsys)] == [
        ("paused", "wallet", "a duplicate file"),
        ("paused", "rail", "the bank is closed"),
        ("paused", "all", "an incident"),
    ]
    commands.resume_outgoing(operator, "sandbox", None, None, everything=False)
    assert "still paused: all outgoing money" in capsys.readouterr().err
    assert len(listed_holds(capsys)) == 2


def test_a_violation_without_a_wallet_freezes_all_outgoing_money(world: World, operator: str) -> None:
    with world.engine.begin() as connection:
        assert outgoing_holds.freeze_outgoing(
            connection, [Violation("an_invariant", None, "x")], world.clock.now()
        ) == [HoldScope()]
    assert selected_for_dispatch(world, world.queued()) == []
