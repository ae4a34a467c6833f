"""After a restore: look up what the provider has and this database may not, before money leaves. Moves no money.

1. Compare the provider's record since the backup; a payment missing in ours becomes a case.
2. Put a payout on hold if a request that the backup lacks already pays it.
3. Look up each open request by its key: record what the provider has, allow sending what it does not have, and give up
   a request whose payout another one paid.
4. Put payouts on hold that were requested after the backup and look like a payment found in step 1.
"""

import uuid
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Final

import sqlalchemy as sa
import structlog

from shared.controls.reconciliation import database_identity, runs
from shared.controls.reconciliation.provider_pages import ProviderRecordUnavailable
from shared.controls.reconciliation.provider_payments import ProviderPayment
from shared.controls.reconciliation.reconcile import execute_run
from shared.controls.reconciliation.reconciler import Reconciler
from shared.holds import cases
from shared.holds.cases import Difference
from shared.payouts import lookup, provider_results
from shared.payouts.on_hold import hold_double_payments, put_payouts_on_hold
from shared.payouts.submission_leases import LeasedSubmission, claim_submissions
from shared.platform.ids import PAYOUT, SUBMISSION, public_id
from shared.provider.outcomes import Accepted
from shared.schema.controls import CaseKind, RunCause

logger = structlog.get_logger(__name__)

ADVISORY_LOCK: Final = 0x0F_4E_5243
LOOKUP_PAGE_SIZE: Final = 100

_PaymentsByPayout = dict[uuid.UUID, list[ProviderPayment]]


def compare_restored_database(
    reconciler: Reconciler, modes: Collection[str], *, wait: timedelta, lease_seconds: float
) -> bool:
    """Do all steps, unless another process does (advisory lock); return whether they are done.

    Waits until `wait` has passed since reconcile-only began: calls may have been in flight at the restore.

    Raises:
        ProviderRecordUnavailable: findings are kept, and the steps start again.
    """
    with reconciler.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as lock:
        if not lock.scalar(sa.text("SELECT pg_try_advisory_lock(:lock)"), {"lock": ADVISORY_LOCK}):
            return False
        try:
            return _compare(reconciler, modes, wait, lease_seconds)
        finally:
            lock.execute(sa.text("SELECT pg_advisory_unlock(:lock)"), {"lock": ADVISORY_LOCK})


# Whether the database is in reconcile-only, and since when to compare. Locks the row.
_LOCK_INSTALLATION: Final = sa.text(
    "SELECT reconcile_only_since, compare_since, compared_at FROM installation FOR UPDATE"
)


def _compare(reconciler: Reconciler, modes: Collection[str], wait: timedelta, lease_seconds: float) -> bool:
    now = reconciler.clock.now()
    with reconciler.engine.begin() as connection:
        row = connection.execute(_LOCK_INSTALLATION).one_or_none()
        if row is None or row.reconcile_only_since is None or row.compared_at is not None:
            return True
        if now < row.reconcile_only_since + wait:
            return False
        started = [
            runs.begin_run(connection, mode, row.compare_since, now, RunCause.RESTORE, now) for mode in sorted(modes)
        ]
    payments: _PaymentsByPayout = {}

    def collect(page: Sequence[ProviderPayment]) -> None:
        for payment in page:
            if payment.payout_id is not None and payment.moves_money:
                payments.setdefault(payment.payout_id, []).append(payment)

    for run in started:
        report = execute_run(reconciler, run, collect)
        _hold_payouts_paid_by_lost_requests(reconciler, report.differences)
    _look_up_open_submissions(reconciler, modes, payments, lease_seconds)
    _hold_possible_doubles(reconciler)
    with reconciler.engine.begin() as connection:
        return database_identity.mark_compared(connection, reconciler.clock.now())


def _hold_payouts_paid_by_lost_requests(reconciler: Reconciler, differences: Sequence[Difference]) -> None:
    for difference in differences:
        if difference.kind is CaseKind.MISSING_HERE and difference.payout_id is not None:
            reason = f"Paystream's {difference.payment_id} already pays it"
            with reconciler.engine.begin() as connection:
                _stop_payouts(connection, [difference.payout_id], reason, reconciler)


# Payouts that may still be paid. Locks them in the order of their ids.
_LOCK_PAYABLE: Final = sa.text("""
    SELECT id FROM payouts WHERE id = ANY(:ids) AND status IN ('validated', 'queued', 'processing', 'failed')
    ORDER BY id FOR UPDATE
""")

# Gives up the open submissions of payouts, so none is sent again. Locks them.
_GIVE_UP_SUBMISSIONS: Final = sa.text("""
    UPDATE submissions SET status = 'unresolved', next_action_at = NULL, error_message = :reason,
        lease_token = NULL, lease_expires_at = NULL
    WHERE status IN ('prepared', 'unknown') AND id IN (
        SELECT submission_id FROM submission_items WHERE payout_id = ANY(:ids) AND NOT dissolved)
""")


def _stop_payouts(
    connection: sa.Connection, payout_ids: Sequence[uuid.UUID], reason: str, reconciler: Reconciler
) -> None:
    """Put unpaid payouts on hold and give up their submissions: the provider has them under other keys."""
    found = connection.scalars(_LOCK_PAYABLE, {"ids": list(payout_ids)}).all()
    put_payouts_on_hold(connection, list(found), reason, reconciler.clock.now())
    connection.execute(_GIVE_UP_SUBMISSIONS, {"ids": list(found), "reason": reason})


# A page of open submissions in the order of their ids. No locks.
_OPEN_SUBMISSIONS: Final = sa.text("""
    SELECT submissions.id FROM submissions JOIN wallets ON wallets.id = wallet_id
    WHERE submissions.status IN ('prepared', 'unknown') AND submissions.id > :last
          AND mode = ANY(:modes)
    ORDER BY submissions.id LIMIT :limit
""")


def _look_up_open_submissions(
    reconciler: Reconciler, modes: Collection[str], payments: _PaymentsByPayout, lease_seconds: float
) -> None:
    last = uuid.UUID(int=0)
    while True:
        with reconciler.engine.begin() as connection:
            values = {"last": last, "limit": LOOKUP_PAGE_SIZE, "modes": sorted(modes)}
            ids = connection.scalars(_OPEN_SUBMISSIONS, values).all()
        if not ids:
            return
        for submission_id in ids:
            with reconciler.engine.begin() as connection:
                leased = claim_submissions(connection, [submission_id], lease_seconds=lease_seconds, lookup_only=True)
            if not leased:  # a lease from before the backup has not expired
                raise ProviderRecordUnavailable(f"{public_id(SUBMISSION, submission_id)} is still leased")
            _look_up(reconciler, leased[0], payments)
        last = ids[-1]


# The provider does not have the request: it may be sent under its key. If it never was, its key has not begun to age.
_ALLOW_SENDING: Final = sa.text("""
    UPDATE submissions SET lease_token = NULL, lease_expires_at = NULL, next_action_at = :now,
        attempts = attempts - 1, first_sent_at = CASE WHEN attempts > 1 THEN first_sent_at END
    WHERE id = :id AND lease_token = :token
""")


def _look_up(reconciler: Reconciler, submission: LeasedSubmission, payments: _PaymentsByPayout) -> None:
    outcome = lookup.find_payment(reconciler.paystream, submission)
    now = reconciler.clock.now()
    if isinstance(outcome, Accepted):
        with reconciler.engine.begin() as connection:
            provider_results.record_outcome(connection, submission, outcome, now, poll_after=timedelta(seconds=1))
        logger.warning("submission.found", submission=public_id(SUBMISSION, submission.id))
        return
    if outcome is not None:
        raise ProviderRecordUnavailable(f"the outcome of {public_id(SUBMISSION, submission.id)} is unknown: {outcome}")
    with reconciler.engine.begin() as connection:
        payout_ids = connection.scalars(
            sa.text("SELECT payout_id FROM submission_items WHERE submission_id = :id AND NOT dissolved"),
            {"id": submission.id},
        ).all()
        paid_otherwise = [payout_id for payout_id in payout_ids if payout_id in payments]
        for payout_id in paid_otherwise:
            payment = payments[payout_id][0]
            _stop_payouts(connection, [payout_id], f"Paystream's {payment.id} already pays it", reconciler)
            difference = Difference(
                CaseKind.MISSING_HERE,
                payment.id,
                payment.created_at,
                {"payout": public_id(PAYOUT, payout_id), "submission": public_id(SUBMISSION, submission.id)},
                payment.case_values(),
                submission.wallet_id,
                payout_id,
                submission.id,
                payment.id,
            )
            cases.record_differences(connection, submission.mode, [difference], now)
        if not paid_otherwise:
            connection.execute(_ALLOW_SENDING, {"id": submission.id, "token": submission.token, "now": now})


# Payouts requested after the backup that are not sent. Locks them in the order of their ids.
_LOCK_UNSENT: Final = sa.text("""
    SELECT payouts.id FROM payouts LEFT JOIN submissions ON submissions.id = submission_id
    WHERE payouts.status IN ('validated', 'queued', 'processing') AND held_reason IS NULL
          AND (payouts.status <> 'processing' OR submissions.status IN ('prepared', 'unknown'))
          AND requested_at >= coalesce((SELECT alive_at FROM installation), '-infinity')
    ORDER BY payouts.id FOR UPDATE OF payouts
""")


def _hold_possible_doubles(reconciler: Reconciler) -> None:
    with reconciler.engine.begin() as connection:
        unsent = connection.scalars(_LOCK_UNSENT).all()
        held = hold_double_payments(connection, unsent, reconciler.clock.now())
        if held:
            _stop_payouts(connection, sorted(held), "it may already be paid", reconciler)
            logger.warning("payouts.may_be_paid", count=len(held))
