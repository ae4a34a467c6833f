"""The tables, as a data dictionary: a sentence under every column says what it means and who sets it."""

from shared.models.tables.analytics import AnalyticsDriver, AnalyticsFailure, AnalyticsFold, AnalyticsTotal
from shared.models.tables.audit import AuditEntry
from shared.models.tables.base import Base
from shared.models.tables.batches import Batch
from shared.models.tables.drivers import Driver
from shared.models.tables.events import CustomerEvent, IdempotencyKey, ProviderEvent
from shared.models.tables.invariants import InvariantProof
from shared.models.tables.ledger import Account, ListCount, Price, Topup, Transfer
from shared.models.tables.organizations import ApiKey, Organization, Session, User, Wallet
from shared.models.tables.outgoing import OutgoingHold
from shared.models.tables.payouts import Payout, PayoutTransition
from shared.models.tables.provider import ProviderCalls, ProviderLimit
from shared.models.tables.reconciliation import Installation, PayoutResolution, ReconciliationCase, ReconciliationRun
from shared.models.tables.retention import RetentionMark
from shared.models.tables.submissions import Submission, SubmissionItem
from shared.models.tables.webhooks import WebhookDelivery, WebhookEndpoint

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
