"""What travels together: one wallet, one rail, within the provider's limits."""

import uuid

from shared.payouts.submissions import BATCH_CENTS_MAX, OutgoingPayout, build_provider_request, group_payouts
from shared.schema.payouts import Rail, SubmissionKind


def items(
    count: int, rail: Rail = Rail.STANDARD, wallet_id: uuid.UUID | None = None, cents: int = 1_000
) -> list[OutgoingPayout]:
    """Payouts to send."""
    wallet_id = wallet_id or uuid.uuid4()
    return [OutgoingPayout(uuid.uuid4(), wallet_id, rail, 1, cents, "rec_x", None) for _ in range(count)]


def test_at_most_a_thousand_payments_go_together() -> None:
    """2,500 payouts are three batches."""
    assert [len(group) for group in group_payouts(items(2_500))] == [1_000, 1_000, 500]


def test_at_most_a_million_dollars_go_together() -> None:
    """Four payouts of $400,000 are two batches of two; one of $1,000,000 goes alone."""
    groups = group_payouts(items(4, cents=40_000_000))
    assert [len(group) for group in groups] == [2, 2]
    assert all(sum(item.net_cents for item in group) <= BATCH_CENTS_MAX for group in groups)
    assert [len(group) for group in group_payouts(items(2, cents=BATCH_CENTS_MAX))] == [1, 1]


def test_wallets_and_fast_rails_are_never_mixed() -> None:
    """Each wallet's standard payouts together; same-day and instant ones alone."""
    mixed = [*items(3), *items(2), *items(2, Rail.INSTANT), *items(1, Rail.SAME_DAY)]
    groups = group_payouts(mixed)
    assert sorted(len(group) for group in groups) == [1, 1, 1, 2, 3]
    assert all(len({(item.wallet_id, item.rail) for item in group}) == 1 for group in groups)
    assert sum(len(group) for group in groups) == len(mixed)


def test_nothing_makes_no_group() -> None:
    """An empty list stays one."""
    assert group_payouts([]) == []


def test_one_travels_as_a_payment_several_as_a_batch() -> None:
    """The payment carries our ids as metadata, the batch's lines in their description."""
    [one] = items(1, Rail.INSTANT)
    kind, request = build_provider_request(uuid.uuid4(), [one])
    assert (kind, request["rail"], request["amount"]) == (SubmissionKind.PAYMENT, "rtp", 1_000)
    assert set(request["metadata"]) == {"payoutId", "submissionId"}
    kind, request = build_provider_request(uuid.uuid4(), items(2))
    assert kind is SubmissionKind.BATCH
    assert all(payment["description"].startswith("pay_") for payment in request["payments"])
