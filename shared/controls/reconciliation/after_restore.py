"""After a restore: everything that the provider may have and this database may not is looked up, before money leaves.

1. The provider's record since the copy was made is compared; what it has and we have not becomes a case.
2. A payout of ours that it was asked for by a request we have forgotten is held: a batch, or a retry, after the copy.
3. Each request that was under way in the copy is looked up by its key. What the provider has is recorded; what it does
   not have may be sent, as the copy says; one whose payouts went another way is never sent.
4. Payouts that were asked for since, and look like a payment of 1, are held.

Nothing here moves money. A person decides about what is held: `ovnpay payouts resolve`.
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
from shared.controls.reconciliation.runs import Reconciler
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


def compare_restored_database(by: Reconciler, modes: Collection[str], *, wait: timedelta, lease_seconds: float) -> bool:
    """Does all of it, unless somebody else is at it; True once it is done. It waits until calls that were under way
    when the database was replaced have ended: after `wait`.

    Raises:
        NotTold: the provider did not tell everything; what was found is kept, and it is done anew.

    """
    with by.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as lock:
        if not lock.scalar(sa.text("SELECT pg_try_advisory_lock(:lock)"), {"lock": ADVISORY_LOCK}):
            return False
        try:
            return _compare_all(by, modes, wait, lease_seconds)
        finally:
            lock.execute(sa.text("SELECT pg_advisory_unlock(:lock)"), {"lock": ADVISORY_LOCK})


def _compare_all(by: Reconciler, modes: Collection[str], wait: timedelta, lease_seconds: float) -> bool:
    now = by.clock.now()
    with by.engine.begin() as connection:
        row = connection.execute(
            sa.text("SELECT reconcile_only_since, compare_since, compared_at FROM installation FOR UPDATE")
        ).one_or_none()
        if row is None or row.reconcile_only_since is None or row.compared_at is not None:
            return True
        if now < row.reconcile_only_since + wait:
            return False
        began = [
            runs.begin_run(connection, mode, row.compare_since, now, RunCause.RESTORE, now) for mode in sorted(modes)
        ]
    theirs: dict[uuid.UUID, list[ProviderPayment]] = {}

    def note(page: Sequence[ProviderPayment]) -> None:
        for payment in page:
            if payment.payout_id is not None and payment.moves_money:
                theirs.setdefault(payment.payout_id, []).append(payment)

    for run in began:
        report = runs.execute_run(by, run, note)
        _hold_known(by, report.differences)
    _look_up(by, modes, theirs, lease_seconds)
    _hold_alike(by)
    with by.engine.begin() as connection:
        return database_identity.mark_compared(connection, by.clock.now())


def _hold_known(by: Reconciler, differences: Sequence[Difference]) -> None:
    """Holds payouts of ours that the provider was asked for by a request that we have forgotten."""
    for one in differences:
        if one.kind is CaseKind.MISSING_HERE and one.payout_id is not None:
            with by.engine.begin() as connection:
                _stop(connection, [one.payout_id], f"Paystream's {one.payment_id} pays it already", by)


def _stop(connection: sa.Connection, payout_ids: Sequence[uuid.UUID], reason: str, by: Reconciler) -> None:
    """Holds payouts that have not ended well, and gives up the requests that carry them: their keys are not those under
    which the provider has them.
    """
    now = by.clock.now()
    found = connection.scalars(
        sa.text("""
            SELECT id FROM payouts WHERE id = ANY(:ids) AND status IN ('validated', 'queued', 'processing', 'failed')
            ORDER BY id FOR UPDATE
        """),
        {"ids": list(payout_ids)},
    ).all()
    put_payouts_on_hold(connection, list(found), reason, now)
    connection.execute(
        sa.text("""
            UPDATE submissions SET status = 'unresolved', next_action_at = NULL, error_message = :reason,
                lease_token = NULL, lease_expires_at = NULL
            WHERE status IN ('prepared', 'unknown') AND id IN (
                SELECT submission_id FROM submission_items WHERE payout_id = ANY(:ids) AND NOT dissolved)
        """),
        {"ids": list(found), "reason": reason},
    )


def _look_up(
    by: Reconciler, modes: Collection[str], theirs: dict[uuid.UUID, list[ProviderPayment]], lease_seconds: float
) -> None:
    """Looks each request that is under way up, some at a time."""
    last = uuid.UUID(int=0)
    while True:
        with by.engine.begin() as connection:
            ids = connection.scalars(
                sa.text("""
                    SELECT submissions.id FROM submissions JOIN wallets ON wallets.id = wallet_id
                    WHERE submissions.status IN ('prepared', 'unknown') AND submissions.id > :last
                          AND mode = ANY(:modes)
                    ORDER BY submissions.id LIMIT :most
                """),
                {"last": last, "most": LOOKUP_PAGE_SIZE, "modes": sorted(modes)},
            ).all()
        if not ids:
            return
        for submission_id in ids:
            with by.engine.begin() as connection:
                taken = claim_submissions(connection, [submission_id], lease_seconds=lease_seconds, lookup_only=True)
            if not taken:  # its lease, of before the copy, is not over
                raise ProviderRecordUnavailable(f"{public_id(SUBMISSION, submission_id)} is held by somebody still")
            _settle(by, taken[0], theirs)
        last = ids[-1]


def _settle(by: Reconciler, held: LeasedSubmission, theirs: dict[uuid.UUID, list[ProviderPayment]]) -> None:
    outcome = lookup.find_payment(by.paystream, held)
    now = by.clock.now()
    if isinstance(outcome, Accepted):
        with by.engine.begin() as connection:
            provider_results.record_outcome(connection, held, outcome, now, poll_after=timedelta(seconds=1))
        logger.warning("submission.found", submission=public_id(SUBMISSION, held.id))
        return
    if outcome is not None:
        raise ProviderRecordUnavailable(f"what became of {public_id(SUBMISSION, held.id)} is not known: {outcome}")
    with by.engine.begin() as connection:
        payouts = connection.scalars(
            sa.text("SELECT payout_id FROM submission_items WHERE submission_id = :id AND NOT dissolved"),
            {"id": held.id},
        ).all()
        elsewhere = [payout_id for payout_id in payouts if payout_id in theirs]
        if elsewhere:
            for payout_id in elsewhere:
                payment = theirs[payout_id][0]
                _stop(connection, [payout_id], f"Paystream's {payment.id} pays it already", by)
                said = {"payout": public_id(PAYOUT, payout_id), "submission": public_id(SUBMISSION, held.id)}
                found = Difference(
                    CaseKind.MISSING_HERE,
                    payment.id,
                    payment.created_at,
                    said,
                    payment.shown(),
                    held.wallet_id,
                    payout_id,
                    held.id,
                    payment.id,
                )
                cases.record_differences(connection, held.mode, [found], now)
            return
        # The provider does not have it: it may go, under its key. What was never sent has not begun to age.
        connection.execute(
            sa.text("""
                UPDATE submissions SET lease_token = NULL, lease_expires_at = NULL, next_action_at = :now,
                    attempts = attempts - 1, first_sent_at = CASE WHEN attempts > 1 THEN first_sent_at END
                WHERE id = :id AND lease_token = :token
            """),
            {"id": held.id, "token": held.token, "now": now},
        )


def _hold_alike(by: Reconciler) -> None:
    """Holds payouts that have come since the copy was made, have not left, and may be paid already."""
    now = by.clock.now()
    with by.engine.begin() as connection:
        waiting = connection.scalars(
            sa.text("""
                SELECT payouts.id FROM payouts LEFT JOIN submissions ON submissions.id = submission_id
                WHERE payouts.status IN ('validated', 'queued', 'processing') AND held_reason IS NULL
                      AND (payouts.status <> 'processing' OR submissions.status IN ('prepared', 'unknown'))
                      AND requested_at >= coalesce((SELECT alive_at FROM installation), '-infinity')
                ORDER BY payouts.id FOR UPDATE OF payouts
            """)
        ).all()
        held = hold_double_payments(connection, waiting, now)
        if held:
            _stop(connection, sorted(held), "it may be paid already", by)
            logger.warning("payouts.may_be_paid", count=len(held))
