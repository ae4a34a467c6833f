"""Bank details and identity: encrypted with a key derived from the pepper until they are sent to the provider."""

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
    """Defaults to the driver's name."""
    account_holder_type: Annotated[str, msgspec.Meta(pattern=r"^(individual|business|company)\Z")] = "individual"
    account_type: Annotated[str, msgspec.Meta(pattern=r"^(checking|savings)\Z")] = "checking"

    @property
    def last4(self) -> str:
        """Last four digits of the account number."""
        return self.account_number[-4:]


class DriverIdentity(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """The driver's identity, as the provider requires it."""

    first_name: DetailText
    last_name: DetailText
    date_of_birth: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}\Z", examples=["1980-05-17"])]
    address: Annotated[dict[str, str], msgspec.Meta(max_length=20)]
    ssn_last4: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{4}\Z")] | None = None
    tos_acceptance: Annotated[dict[str, str], msgspec.Meta(max_length=20)] | None = None


class DriverDetails(msgspec.Struct, omit_defaults=True, rename="camel"):
    """Details for the provider; it accepts an identity only together with an account."""

    bank_account: BankAccount
    identity: DriverIdentity | None = None

    def redact(self, text: str) -> str:
        """Mask the details in a text, such as the provider's error message."""
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
"""Shorter details are not masked: a state's code is part of common words."""
DETAILS_KEY_PURPOSE: Final = b"ovnpay driver details"


def encrypt_details(details: DriverDetails, pepper: str) -> bytes:
    """Encrypt the details for storage until they are sent."""
    return cipher(pepper, DETAILS_KEY_PURPOSE).encrypt(msgspec.json.encode(details))


def decrypt_details(sealed: bytes, pepper: Pepper) -> DriverDetails:
    """Decrypt the details.

    Raises:
        cryptography.fernet.InvalidToken: they were encrypted with another pepper.

    """
    return msgspec.json.decode(cipher(pepper, DETAILS_KEY_PURPOSE).decrypt(sealed), type=DriverDetails)


def details_idempotency_key(driver_id: uuid.UUID, sealed: bytes, name: str) -> str:
    """Return the key for sending details; it depends on the details and the name sent with them."""
    return f"details-{driver_id.hex}-{hashlib.sha256(sealed + name.encode()).hexdigest()[:32]}"
