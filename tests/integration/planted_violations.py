"""Violations of each invariant, as SQL for the busy wallet, and what their explanation says."""

from typing import NamedTuple


class Plant(NamedTuple):
    """A violation to plant."""

    invariant: str
    about: str
    """The payout or batch that the explanation names; empty: none."""
    says: str
    """A part of the explanation."""
    statement: str
    others: tuple[str, ...] = ()
    """Other invariants that the same statement violates."""


ITEM = "(SELECT submission_id FROM submission_items WHERE payout_id = :{} AND NOT dissolved)"

PLANTS = (
    Plant(
        "paid_once",
        "retried",
        "several payments",
        """UPDATE provider_events SET type = 'payment.completed', status = 'ignored' WHERE payment_id = (
           SELECT provider_payment_id FROM submission_items WHERE payout_id = :retried AND attempt = 1)""",
    ),
    Plant(
        "paid_once",
        "",
        "has not rejected",
        """UPDATE submissions SET status = 'unknown', answered_at = NULL WHERE id = (
           SELECT submission_id FROM submission_items WHERE payout_id = :released_payout AND dissolved)""",
    ),
    Plant(
        "paid_once",
        "processing",
        "its submission does not request that",
        "UPDATE payouts SET submission_id = gen_random_uuid() WHERE id = :processing",
    ),
    Plant(
        "paid_as_ordered",
        "unknown",
        "44501 cents are requested",
        "UPDATE submission_items SET net_cents = net_cents + 1 WHERE payout_id = :unknown",
    ),
    Plant(
        "paid_as_ordered",
        "released_payout",
        "the request says recipient rec_x",
        """UPDATE submissions SET request = jsonb_set(request, '{payments,0,recipientId}', '"rec_x"') WHERE id = """
        + ITEM.format("released_payout"),
    ),
    Plant(
        "paid_as_ordered",
        "processing",
        "the request says rail rtp",
        "UPDATE submissions SET request = jsonb_set(request, '{rail}', '\"rtp\"') WHERE id = "
        + ITEM.format("processing"),
    ),
    Plant(
        "paid_as_ordered",
        "completed",
        "was applied, our record says 44500",
        "UPDATE provider_events SET amount_cents = 45000 WHERE payout_id = :completed AND status = 'applied'",
    ),
    Plant(
        "ends_match_provider",
        "completed",
        "recorded as paid by a webhook",
        "UPDATE provider_events SET status = 'ignored' WHERE payout_id = :completed",
    ),
    Plant(
        "ends_match_provider",
        "failed",
        "it is failed, but Paystream says",
        """UPDATE provider_events SET type = 'payment.completed', status = 'ignored'
           WHERE payout_id = :failed AND type = 'payment.created'""",
    ),
    Plant(
        "ends_match_provider",
        "refused",
        "Paystream's answer was accepted",
        "UPDATE submissions SET status = 'accepted' WHERE id = " + ITEM.format("refused"),
    ),
    Plant(
        "money_follows_status",
        "failed",
        "attempt 7 has moved money",
        "UPDATE transfers SET attempt = 7 WHERE payout_id = :failed AND kind = 'release'",
    ),
    Plant(
        "money_follows_status",
        "failed",
        "release 90000 cents instead of 45000",
        """INSERT INTO transfers (id, wallet_id, from_account, to_account, amount_cents, kind, payout_id, attempt,
           available_after_cents, created_at)
           SELECT gen_random_uuid(), wallet_id, from_account, to_account, amount_cents, kind, payout_id, attempt,
           available_after_cents, created_at FROM transfers WHERE payout_id = :failed AND kind = 'release'""",
        ("accounts",),
    ),
    Plant(
        "accounts",
        "",
        "external has",
        """UPDATE accounts SET balance_cents = balance_cents + CASE kind WHEN 'fees' THEN 1 ELSE -1 END
           WHERE wallet_id = :wallet AND kind IN ('fees', 'external')""",
    ),
    Plant(
        "accounts",
        "",
        "by the one before it should be",
        """UPDATE transfers SET available_after_cents = available_after_cents + 1
           WHERE payout_id = :completed AND kind = 'reserve'""",
    ),
    Plant(
        "balances",
        "",
        "pending_funding is -5 cents",
        """ALTER TABLE accounts DROP CONSTRAINT ck_accounts_balance_not_negative;
           UPDATE accounts SET balance_cents = -5 WHERE wallet_id = :wallet AND kind = 'pending_funding'""",
        ("accounts",),
    ),
    Plant(
        "histories",
        "completed",
        "step 3 follows step 1",
        "DELETE FROM payout_transitions WHERE payout_id = :completed AND sequence = 2",
    ),
    Plant(
        "histories",
        "queued",
        "its history ends at queued after 2 steps",
        "UPDATE payouts SET sequence = 3 WHERE id = :queued",
    ),
    Plant(
        "histories",
        "validated",
        "nothing to processing, is not allowed",
        "UPDATE payout_transitions SET to_status = 'processing' WHERE payout_id = :validated",
        ("customer_events_written",),
    ),
    Plant(
        "keys_pay_once",
        "",
        "under an idempotency key that was used before",
        """INSERT INTO audit_entries SELECT organization_id, gen_random_uuid(), wallet_id, at + interval '1 s',
           actor_kind, user_id, key_id, address, request_id, action, object_kind, 'pay_another', before, after
           FROM audit_entries WHERE object_id = :asked_shown""",
    ),
    Plant(
        "answers_have_rows",
        "",
        "says it was created, but it does not exist",
        """UPDATE idempotency_keys SET answer = convert_to(replace(convert_from(answer, 'UTF8'), :asked_shown,
           'pay_01jb0000000000000000000000'), 'UTF8') WHERE wallet_id = :wallet""",
    ),
    Plant(
        "batches_released",
        "released_batch",
        "released 2 times",
        """INSERT INTO audit_entries SELECT organization_id, gen_random_uuid(), wallet_id, at, actor_kind, user_id,
           key_id, address, request_id, action, object_kind, object_id, before, after
           FROM audit_entries WHERE object_id = :released_batch_shown AND action = 'batch.release'""",
    ),
    Plant(
        "batches_released",
        "released_batch",
        "s before its time",
        """UPDATE batches SET scheduled_for = released_at + interval '10 s' WHERE id = :released_batch;
           UPDATE audit_entries SET actor_kind = 'system' WHERE object_id = :released_batch_shown""",
    ),
    Plant(
        "batches_released",
        "released_batch",
        "1 of its payouts were queued at another time",
        """UPDATE payout_transitions SET created_at = created_at + interval '1 s'
           WHERE payout_id = :released_payout AND sequence = 2""",
    ),
    Plant(
        "deadlines",
        "queued",
        "it is in progress, but has no next action",
        "UPDATE payouts SET next_action_at = NULL WHERE id = :queued",
    ),
    Plant(
        "customer_events_written",
        "returned",
        "has no event payout.returned",
        "DELETE FROM customer_events WHERE payout_id = :returned AND type = 'payout.returned'",
    ),
    Plant(
        "deliveries_written",
        "",
        "has no delivery to https://example.com/",
        """DELETE FROM webhook_deliveries WHERE event_id = (
           SELECT id FROM customer_events WHERE payout_id = :returned AND type = 'payout.returned')""",
    ),
    Plant(
        "analytics_agree",
        "",
        "totals: fee by day",
        "UPDATE analytics_totals SET fee_cents = fee_cents + 1 WHERE wallet_id = :wallet AND grain = 'day'",
    ),
)
