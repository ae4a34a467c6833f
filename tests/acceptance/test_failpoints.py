"""A service is killed at each failpoint in turn, and every scenario still ends correctly.

The whole system gets money, drivers and payouts. Then, with only the servers and the simulator running, one service
after the other starts with a failpoint and is killed there. Finally the services start again, clients and provider
repeat what had no response, and each scenario must end as without a crash. All kills come before the restart: the
scenarios share its waits.
"""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.platform.failpoints import FAILPOINTS
from tests.acceptance.crash_scenarios import (
    CancelPayout,
    CrashScenario,
    CreateDriver,
    PostBulkPayouts,
    PostInstantPayout,
    PostPayout,
    RegisterRecipient,
    ReleaseBatch,
    ReleaseDueBatch,
    ReplaceBankAccount,
    RequestTopUp,
    RetryPayout,
    SendBankAccount,
    TopUp,
)
from tests.acceptance.crash_stack import PROJECT, CrashStack, crash_stack
from tests.acceptance.crash_worker_scenarios import (
    ApplyEvent,
    DeliverWebhook,
    LookUpSubmission,
    PollPayout,
    QueuePayouts,
    ReceiveWebhook,
    SchedulerTick,
    SendInstantPayout,
    SubmitPayouts,
    SubmitWithRejection,
)
from tests.support import ledger
from tests.support.polling import until
from tests.support.report_lines import report
from tests.support.webhook_receiver import Receiver, running_receiver

pytestmark = pytest.mark.long

SCENARIOS: tuple[CrashScenario, ...] = (
    # First: the scheduler finds whatever is due
    SchedulerTick("tick claimed", "scheduler", "tick.after_claim"),
    SchedulerTick("tick enqueued", "scheduler", "tick.after_enqueue"),
    # The leases of deliveries are the longest
    DeliverWebhook("delivery claimed", "workers", "deliver.before_call"),
    DeliverWebhook("delivery called", "workers", "deliver.after_call"),
    DeliverWebhook("delivery recorded", "workers", "deliver.before_claim:2"),
    # A submission takes everything queued: before the scenarios that leave queued payouts
    SubmitPayouts("submit", "workers", "submit.after_commit"),
    SubmitPayouts("submit one uncalled", "workers", "send.before_call"),
    SubmitPayouts("submit one called", "workers", "send.after_call"),
    SubmitPayouts("submit one unacknowledged", "workers", "message.before_ack"),
    SubmitPayouts("submit batch uncalled", "workers", "send.before_call", payouts=3),
    SubmitPayouts("submit batch called", "workers", "send.after_call", payouts=3),
    SubmitPayouts("submit batch unrecorded", "workers", "send.before_commit", payouts=3),
    SubmitPayouts("submit batch recorded", "workers", "send.after_commit", payouts=3),
    SubmitWithRejection("refused batch called", "workers", "send.after_call"),
    SubmitWithRejection("refused batch recorded", "workers", "send.after_commit"),
    SubmitPayouts("submit uncommitted", "workers", "submit.before_commit"),
    SubmitPayouts("submit batch uncommitted", "workers", "submit.before_commit", payouts=3),
    PostPayout("accept one uncommitted", "gateway", "accept.before_commit"),
    PostPayout("accept one", "gateway", "accept.after_commit"),
    PostPayout("accept one enqueued", "gateway", "accept.after_enqueue"),
    PostBulkPayouts("accept bulk uncommitted", "gateway", "accept.before_commit"),
    PostBulkPayouts("accept bulk", "gateway", "accept.after_commit"),
    PostInstantPayout("accept instant uncommitted", "gateway", "accept.before_commit"),
    PostInstantPayout("accept instant", "gateway", "accept.after_commit"),
    PostInstantPayout("accept instant enqueued", "gateway", "accept.after_enqueue"),
    CancelPayout("cancel uncommitted", "gateway", "change.before_commit"),
    CancelPayout("cancel", "gateway", "change.after_commit"),
    RetryPayout("retry uncommitted", "gateway", "change.before_commit"),
    RetryPayout("retry", "gateway", "change.after_commit"),
    RetryPayout("retry enqueued", "gateway", "change.after_enqueue"),
    ReleaseBatch("release uncommitted", "gateway", "change.before_commit"),
    ReleaseBatch("release", "gateway", "change.after_commit"),
    ReleaseBatch("release enqueued", "gateway", "change.after_enqueue"),
    TopUp("topup", "gateway", "change.after_commit"),
    TopUp("topup enqueued", "gateway", "change.after_enqueue"),
    CreateDriver("register", "gateway", "change.after_commit"),
    CreateDriver("register enqueued", "gateway", "change.after_enqueue"),
    ReplaceBankAccount("account uncommitted", "gateway", "change.before_commit"),
    ReplaceBankAccount("account enqueued", "gateway", "driver_update.after_enqueue"),
    ReceiveWebhook("webhook uncommitted", "gateway", "webhook.before_commit"),
    ReceiveWebhook("webhook stored", "gateway", "webhook.after_commit"),
    ReceiveWebhook("webhook enqueued", "gateway", "webhook.after_enqueue"),
    QueuePayouts("queue uncommitted", "workers", "queue.before_commit"),
    QueuePayouts("queue", "workers", "queue.after_commit"),
    QueuePayouts("queue unacknowledged", "workers", "message.before_ack"),
    SendInstantPayout("send passed on", "workers", "send.after_passing_on"),
    SendInstantPayout("send uncalled", "workers", "send.before_call"),
    SendInstantPayout("send called", "workers", "send.after_call"),
    SendInstantPayout("send unrecorded", "workers", "send.before_commit"),
    SendInstantPayout("send recorded", "workers", "send.after_commit"),
    LookUpSubmission("lookup unasked", "workers", "lookup.before_call"),
    LookUpSubmission("lookup answered", "workers", "lookup.after_call"),
    PollPayout("poll passed on", "workers", "poll.after_passing_on"),
    PollPayout("poll unasked", "workers", "poll.before_call"),
    PollPayout("poll answered", "workers", "poll.after_call"),
    ApplyEvent("apply uncommitted", "workers", "apply.before_commit"),
    ApplyEvent("apply unacknowledged", "workers", "message.before_ack"),
    ReleaseDueBatch("due batch uncommitted", "workers", "release.before_commit"),
    ReleaseDueBatch("due batch", "workers", "release.after_commit"),
    ReleaseDueBatch("due batch enqueued", "workers", "release.after_enqueue"),
    RegisterRecipient("recipient passed on", "workers", "register.after_passing_on"),
    RegisterRecipient("recipient unasked", "workers", "register.before_call"),
    RegisterRecipient("recipient answered", "workers", "register.after_call"),
    SendBankAccount("method answered", "workers", "register.after_call"),
    RequestTopUp("credit passed on", "workers", "topup.after_passing_on"),
    RequestTopUp("credit unasked", "workers", "topup.before_call"),
    RequestTopUp("credit answered", "workers", "topup.after_call"),
    RequestTopUp("credit unrecorded", "workers", "topup.before_commit"),
    RequestTopUp("credit settled", "workers", "topup.after_call:2", settling=True),
    RequestTopUp("credit settled unrecorded", "workers", "topup.before_commit:2", settling=True),
)
FUNDS_CENTS = 10_000_000


def test_every_failpoint_has_a_scenario() -> None:
    assert {scenario.failpoint.partition(":")[0] for scenario in SCENARIOS} == set(FAILPOINTS)
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS)


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """A customer's receiver of all events."""
    with running_receiver() as server:
        yield server


@pytest.fixture(scope="module")
def recovered(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[CrashStack]:
    """The system after all kills and the restart, with every request without a response repeated."""
    with crash_stack(tmp_path_factory.mktemp("crash")) as stack:
        _prepare(stack, receiver)
        for scenario in SCENARIOS:
            scenario.before(stack)
            stack.kill_at(
                scenario.service, scenario.failpoint, lambda scenario=scenario: scenario.act(stack), **scenario.settings
            )
        stack.start("gateway")
        for scenario in SCENARIOS:
            scenario.repeat(stack)
        stack.start("workers", "scheduler")
        yield stack


def _prepare(stack: CrashStack, receiver: Receiver) -> None:
    """Set up all scenarios."""
    with stack.running("gateway"):
        with stack.running("workers", "scheduler"):
            driver_id = stack.customer.register("Jane Doe")["id"]
            stack.customer.fund(FUNDS_CENTS)
            stack.customer.until_verified(driver_id)
            for scenario in SCENARIOS:
                scenario.driver_id = driver_id
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(lambda scenario: scenario.prepare(stack), SCENARIOS))
        events = [f"payout.{what}" for what in ("created", "succeeded", "failed", "cancelled")]
        stack.customer.post("/api/v1/webhooks", {"url": f"{receiver.url}/all", "events": events}).data  # noqa: B018
        for scenario in SCENARIOS:
            if isinstance(scenario, DeliverWebhook):
                scenario.url, scenario.requests_at = receiver.url, receiver.at
            scenario.wait(stack)


@pytest.mark.parametrize(
    "scenario", SCENARIOS, ids=lambda scenario: f"{scenario.name}: {scenario.failpoint}".replace(" ", "_")
)
def test_scenario_ends_as_without_a_crash(recovered: CrashStack, scenario: CrashScenario) -> None:
    scenario.check(recovered)


def test_ledger_and_webhooks_are_complete_after_all_scenarios(recovered: CrashStack, receiver: Receiver) -> None:
    database_url = recovered.description["database_url"]
    # Nothing is in transit
    until(lambda: recovered.customer.balance()["inTransit"] == 0, "no payout is open")
    ledger.assert_ledger_consistent(database_url)
    verified = subprocess.run(
        [sys.executable, "-m", "shared.cli", "verify"],
        cwd=PROJECT,
        env=dict(recovered.services["gateway"].environment),
        capture_output=True,
        text=True,
        check=False,
    )
    assert verified.returncode == 0, verified.stderr
    # and the receiver got every event at least once
    ended = recovered.rows("""
        select event.id from customer_events event join webhook_deliveries delivery on delivery.event_id = event.id
        join webhook_endpoints endpoint on endpoint.id = delivery.endpoint_id where url like '%%/all'
    """)
    assert len(ended) > len(SCENARIOS)
    until(lambda: len(_received_ids(receiver)) >= len(ended), "every event is received", 30)
    assert len(_received_ids(receiver)) == len(ended)
    report(f"{len(SCENARIOS)} kills at {len(FAILPOINTS)} failpoints: each scenario ended as without a crash")


def _received_ids(receiver: Receiver) -> set[str]:
    return {one.headers["webhook-id"] for one in receiver.at("/all")}
