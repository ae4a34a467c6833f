"""The tables, as a data dictionary: a sentence under every column says what it means and who sets it."""

from shared.models.base import Base
from shared.models.drivers import Driver
from shared.models.events import CustomerEvent, IdempotencyKey, ProviderEvent
from shared.models.ledger import Account, Price, Topup, Transfer
from shared.models.organizations import ApiKey, Organization, User, Wallet
from shared.models.payouts import Payout, PayoutTransition
from shared.models.submissions import Submission, SubmissionItem

__all__ = [
    "Account",
    "ApiKey",
    "Base",
    "CustomerEvent",
    "Driver",
    "IdempotencyKey",
    "Organization",
    "Payout",
    "PayoutTransition",
    "Price",
    "ProviderEvent",
    "Submission",
    "SubmissionItem",
    "Topup",
    "Transfer",
    "User",
    "Wallet",
]
