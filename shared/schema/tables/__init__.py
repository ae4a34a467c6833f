"""The tables as SQLAlchemy models, for migrations and tests only, and the data dictionary: the sentence under a column
says what it means, its unit and who sets it.
"""

from shared.schema.tables.analytics import AnalyticsDriver, AnalyticsFailure, AnalyticsFold, AnalyticsTotal
from shared.schema.tables.audit import AuditEntry
from shared.schema.tables.base import Base
from shared.schema.tables.batches import Batch
from shared.schema.tables.drivers import Driver
from shared.schema.tables.events import CustomerEvent, IdempotencyKey, ProviderEvent
from shared.schema.tables.holds import OutgoingHold
from shared.schema.tables.ledger import Account, ListCount, Price, Topup, Transfer
from shared.schema.tables.organizations import ApiKey, Organization, Session, User, Wallet
from shared.schema.tables.payouts import Payout, PayoutTransition
from shared.schema.tables.reconciliation import Installation, PayoutResolution, ReconciliationCase, ReconciliationRun
from shared.schema.tables.scheduled_jobs import InvariantProof, RetentionMark
from shared.schema.tables.submissions import ProviderCalls, ProviderLimit, Submission, SubmissionItem
from shared.schema.tables.webhooks import WebhookDelivery, WebhookEndpoint

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
