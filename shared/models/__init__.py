"""The tables, as a data dictionary: a sentence under every column says what it means and who sets it."""

from shared.models.analytics import AnalyticsDriver, AnalyticsFailure, AnalyticsFold, AnalyticsTotal
from shared.models.audit import AuditEntry
from shared.models.base import Base
from shared.models.batches import Batch
from shared.models.drivers import Driver
from shared.models.events import CustomerEvent, IdempotencyKey, ProviderEvent
from shared.models.invariants import InvariantProof
from shared.models.ledger import Account, ListCount, Price, Topup, Transfer
from shared.models.organizations import ApiKey, Organization, Session, User, Wallet
from shared.models.outgoing import OutgoingHold
from shared.models.payouts import Payout, PayoutTransition
from shared.models.provider import ProviderCalls, ProviderLimit
from shared.models.reconciliation import Installation, PayoutResolution, ReconciliationCase, ReconciliationRun
from shared.models.retention import RetentionMark
from shared.models.submissions import Submission, SubmissionItem
from shared.models.webhooks import WebhookDelivery, WebhookEndpoint

__all__ = [
    "Account",
    "AnalyticsDriver",
    "AnalyticsFailure",
    "AnalyticsFold",
    "AnalyticsTotal",
    "ApiKey",
    "AuditEntry",
    "Base",
    "Batch",
    "CustomerEvent",
    "Driver",
    "IdempotencyKey",
    "Installation",
    "InvariantProof",
    "ListCount",
    "Organization",
    "OutgoingHold",
    "Payout",
    "PayoutResolution",
    "PayoutTransition",
    "Price",
    "ProviderCalls",
    "ProviderEvent",
    "ProviderLimit",
    "ReconciliationCase",
    "ReconciliationRun",
    "RetentionMark",
    "Session",
    "Submission",
    "SubmissionItem",
    "Topup",
    "Transfer",
    "User",
    "Wallet",
    "WebhookDelivery",
    "WebhookEndpoint",
]
