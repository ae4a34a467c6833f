"""Bank details and identity: passed on to the provider and not kept.

Until a worker has passed them on they are sealed: encrypted under a key that is derived from the installation's pepper.
"""

import hashlib
import uuid
from typing import Annotated, Final

import msgspec

from shared.platform.encryption import Pepper, cipher
from shared.platform.masking import MASK

DetailText = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class BankAccount(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """A US bank account."""

    account_number: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{4,17}\Z", examples=["000123456789"])]
    routing_number: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{9}\Z", examples=["021000021"])]
    account_holder_name: DetailText | None = None
    """The driver's name where it is left out."""
    account_holder_type: Annotated[str, msgspec.Meta(pattern=r"^(individual|business|company)\Z")] = "individual"
    account_type: Annotated[str, msgspec.Meta(pattern=r"^(checking|savings)\Z")] = "checking"

    @property
    def last4(self) -> str:
        """The end of the account number: all that is kept."""
        return self.account_number[-4:]


class DriverIdentity(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """Who the driver is, as the provider has to know."""

    first_name: DetailText
    last_name: DetailText
    date_of_birth: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}\Z", examples=["1980-05-17"])]
    address: Annotated[dict[str, str], msgspec.Meta(max_length=20)]
    ssn_last4: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{4}\Z")] | None = None
    tos_acceptance: Annotated[dict[str, str], msgspec.Meta(max_length=20)] | None = None


class DriverDetails(msgspec.Struct, omit_defaults=True, rename="camel"):
    """What is to be passed on; the provider takes an identity together with an account."""

    bank_account: BankAccount
    identity: DriverIdentity | None = None

    def redact(self, text: str) -> str:
        """A text without any of the details: the provider's refusal may repeat them, and is kept and shown."""
        account, identity = self.bank_account, self.identity
        values = [account.account_number, account.routing_number, account.account_holder_name or ""]
        if identity is not None:
            values += [identity.first_name, identity.last_name, identity.date_of_birth, identity.ssn_last4 or ""]
            values += [*identity.address.values(), *(identity.tos_acceptance or {}).values()]
        for value in sorted(filter(None, values), key=len, reverse=True):
            if len(value) >= DETAIL_LENGTH_MIN:
                text = text.replace(value, MASK)
        return text


DETAIL_LENGTH_MIN: Final = 4
"""Shorter ones, as the name of a state, are parts of common words."""
DETAILS_KEY_PURPOSE: Final = b"ovnpay driver details"


def encrypt_details(details: DriverDetails, pepper: str) -> bytes:
    """The details as they may be stored for a while."""
    return cipher(pepper, DETAILS_KEY_PURPOSE).encrypt(msgspec.json.encode(details))


def decrypt_details(sealed: bytes, pepper: Pepper) -> DriverDetails:
    """The details again.

    Raises:
        cryptography.fernet.InvalidToken: they were sealed under another pepper.

    """
    return msgspec.json.decode(cipher(pepper, DETAILS_KEY_PURPOSE).decrypt(sealed), type=DriverDetails)


def details_idempotency_key(driver_id: uuid.UUID, sealed: bytes, name: str) -> str:
    """The idempotency key under which sealed details are passed on: the same as long as they, and the name that may
    go with them, are.
    """
    return f"details-{driver_id.hex}-{hashlib.sha256(sealed + name.encode()).hexdigest()[:32]}"
