"""A service dies at each crash point in turn, and everything ends right.

First a system that is well gets money, drivers and payouts. Then, with PostgreSQL, Valkey and Paystream running, one
service after the other is started with a crash point, brought there and seen to die by SIGKILL just there. Then the
services are started as they really are, clients and provider repeat what was not answered, and each story has to end
as if nobody had died. That all are killed before all come back costs no story anything, and the waits are shared.
"""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.platform.failpoints import FAILPOINTS
from tests.acceptance.crash_scenarios import (
    AccountPassedOn,
    Applied,
    Asked,
    AskedInBulk,
    AskedInstant,
    Canceled,
    Delivered,
    DueBatch,
    Heard,
    LookedUp,
    MadeKnown,
    NewAccount,
    OneRefused,
    Polled,
    Registered,
    Released,
    Retried,
    Sent,
    Story,
    Submitted,
    Ticked,
    ToppedUp,
    TopupAsked,
    Worked,
)
from tests.acceptance.crash_stack import PROJECT, CrashStack, crash_stack
from tests.support import ledger
from tests.support.polling import until
from tests.support.report_lines import report
from tests.support.webhook_receiver import Receiver, running_receiver

pytestmark = pytest.mark.long

STORIES: tuple[Story, ...] = (
    # What the scheduler looks for is what is due: before there is anything else
    Ticked("tick claimed", "scheduler", "tick.after_claim"),
    Ticked("tick rung", "scheduler", "tick.after_ring"),
    # A lease on a delivery is the longest
    Delivered("delivery claimed", "workers", "deliver.before_call"),
    Delivered("delivery called", "workers", "deliver.after_call"),
    Delivered("delivery recorded", "workers", "deliver.before_claim:2"),
    # Whoever submits takes with him whatever is queued: before others are killed over queued payouts
    Submitted("submit", "workers", "submit.after_commit"),
    Submitted("submit one uncalled", "workers", "send.before_call"),
    Submitted("submit one called", "workers", "send.after_call"),
    Submitted("submit one unacknowledged", "workers", "message.before_ack"),
    Submitted("submit batch uncalled", "workers", "send.before_call", payouts=3),
    Submitted("submit batch called", "workers", "send.after_call", payouts=3),
    Submitted("submit batch unrecorded", "workers", "send.before_commit", payouts=3),
    Submitted("submit batch recorded", "workers", "send.after_commit", payouts=3),
    OneRefused("refused batch called", "workers", "send.after_call"),
    OneRefused("refused batch recorded", "workers", "send.after_commit"),
    Submitted("submit uncommitted", "workers", "submit.before_commit"),
    Submitted("submit batch uncommitted", "workers", "submit.before_commit", payouts=3),
    Asked("accept one uncommitted", "gateway", "accept.before_commit"),
    Asked("accept one", "gateway", "accept.after_commit"),
    Asked("accept one rung", "gateway", "accept.after_ring"),
    AskedInBulk("accept bulk uncommitted", "gateway", "accept.before_commit"),
    AskedInBulk("accept bulk", "gateway", "accept.after_commit"),
    AskedInstant("accept instant uncommitted", "gateway", "accept.before_commit"),
    AskedInstant("accept instant", "gateway", "accept.after_commit"),
    AskedInstant("accept instant rung", "gateway", "accept.after_ring"),
    Canceled("cancel uncommitted", "gateway", "change.before_commit"),
    Canceled("cancel", "gateway", "change.after_commit"),
    Retried("retry uncommitted", "gateway", "change.before_commit"),
    Retried("retry", "gateway", "change.after_commit"),
    Retried("retry rung", "gateway", "change.after_ring"),
    Released("release uncommitted", "gateway", "change.before_commit"),
    Released("release", "gateway", "change.after_commit"),
    Released("release rung", "gateway", "change.after_ring"),
    ToppedUp("topup", "gateway", "change.after_commit"),
    ToppedUp("topup rung", "gateway", "change.after_ring"),
    Registered("register", "gateway", "change.after_commit"),
    Registered("register rung", "gateway", "change.after_ring"),
    NewAccount("account uncommitted", "gateway", "change.before_commit"),
    NewAccount("account rung", "gateway", "driver_update.after_ring"),
    Heard("webhook uncommitted", "gateway", "webhook.before_commit"),
    Heard("webhook stored", "gateway", "webhook.after_commit"),
    Heard("webhook rung", "gateway", "webhook.after_ring"),
    Worked("queue uncommitted", "workers", "queue.before_commit"),
    Worked("queue", "workers", "queue.after_commit"),
    Worked("queue unacknowledged", "workers", "message.before_ack"),
    Sent("send passed on", "workers", "send.after_passing_on"),
    Sent("send uncalled", "workers", "send.before_call"),
    Sent("send called", "workers", "send.after_call"),
    Sent("send unrecorded", "workers", "send.before_commit"),
    Sent("send recorded", "workers", "send.after_commit"),
    LookedUp("lookup unasked", "workers", "lookup.before_call"),
    LookedUp("lookup answered", "workers", "lookup.after_call"),
    Polled("poll passed on", "workers", "poll.after_passing_on"),
    Polled("poll unasked", "workers", "poll.before_call"),
    Polled("poll answered", "workers", "poll.after_call"),
    Applied("apply uncommitted", "workers", "apply.before_commit"),
    Applied("apply unacknowledged", "workers", "message.before_ack"),
    DueBatch("due batch uncommitted", "workers", "release.before_commit"),
    DueBatch("due batch", "workers", "release.after_commit"),
    DueBatch("due batch rung", "workers", "release.after_ring"),
    MadeKnown("recipient passed on", "workers", "register.after_passing_on"),
    MadeKnown("recipient unasked", "workers", "register.before_call"),
    MadeKnown("recipient answered", "workers", "register.after_call"),
    AccountPassedOn("method answered", "workers", "register.after_call"),
    TopupAsked("credit passed on", "workers", "topup.after_passing_on"),
    TopupAsked("credit unasked", "workers", "topup.before_call"),
    TopupAsked("credit answered", "workers", "topup.after_call"),
    TopupAsked("credit unrecorded", "workers", "topup.before_commit"),
    TopupAsked("credit settled", "workers", "topup.after_call:2", settling=True),
    TopupAsked("credit settled unrecorded", "workers", "topup.before_commit:2", settling=True),
)
FUNDS_CENTS = 10_000_000


def test_somebody_dies_at_every_point() -> None:
    """The table above is complete."""
    assert {story.failpoint.partition(":")[0] for story in STORIES} == set(FAILPOINTS)
    assert len({story.name for story in STORIES}) == len(STORIES)


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """A customer's server that hears of everything."""
    with running_receiver() as server:
        yield server


@pytest.fixture(scope="module")
def survived(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[CrashStack]:
    """The system after all deaths, up again, with everything repeated that was not answered."""
    with crash_stack(tmp_path_factory.mktemp("crash")) as stack:
        _prepare(stack, receiver)
        for story in STORIES:
            story.before(stack)
            stack.dies(story.service, story.failpoint, lambda story=story: story.act(stack), **story.settings)
        stack.start("gateway")
        for story in STORIES:
            story.repeat(stack)
        stack.start("workers", "scheduler")
        yield stack


def _prepare(stack: CrashStack, receiver: Receiver) -> None:
    """What the stories need beforehand."""
    with stack.healthy("gateway"):
        with stack.healthy("workers", "scheduler"):
            driver_id = stack.customer.register("Jane Doe")["id"]
            stack.customer.fund(FUNDS_CENTS)
            stack.customer.until_verified(driver_id)
            for story in STORIES:
                story.driver_id = driver_id
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(lambda story: story.prepare(stack), STORIES))
        events = [f"payout.{what}" for what in ("created", "succeeded", "failed", "cancelled")]
        stack.customer.post("/api/v1/webhooks", {"url": f"{receiver.url}/all", "events": events}).data  # noqa: B018
        for story in STORIES:
            if isinstance(story, Delivered):
                story.url, story.hears = receiver.url, receiver.at
            story.wait(stack)


@pytest.mark.parametrize("story", STORIES, ids=lambda story: f"{story.name}: {story.failpoint}".replace(" ", "_"))
def test_it_ends_right(survived: CrashStack, story: Story) -> None:
    story.check(survived)


def test_all_together_is_right_too(survived: CrashStack, receiver: Receiver) -> None:
    """After all stories: the books, what is reserved, and what the customer has heard."""
    database_url = survived.described["database_url"]
    # Nothing is reserved for what has ended, and all has
    until(lambda: survived.customer.balance()["inTransit"] == 0, "all payouts have ended")
    ledger.assert_ledger_consistent(database_url)
    verified = subprocess.run(
        [sys.executable, "-m", "shared.cli", "verify"],
        cwd=PROJECT,
        env=dict(survived.services["gateway"].environment),
        capture_output=True,
        text=True,
        check=False,
    )
    assert verified.returncode == 0, verified.stderr
    # The customer has heard of every payout's end since he asked for it, at least once, whoever died over it
    ended = survived.rows("""
        select event.id from customer_events event join webhook_deliveries delivery on delivery.event_id = event.id
        join webhook_endpoints endpoint on endpoint.id = delivery.endpoint_id where url like '%%/all'
    """)
    assert len(ended) > len(STORIES)
    until(lambda: len(_heard(receiver)) >= len(ended), "the customer has heard of all", 30)
    assert len(_heard(receiver)) == len(ended)
    report(f"{len(STORIES)} deaths at {len(FAILPOINTS)} crash points: each ended as if nobody had died")


def _heard(receiver: Receiver) -> set[str]:
    return {one.headers["webhook-id"] for one in receiver.at("/all")}
