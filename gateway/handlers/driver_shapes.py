"""Request and response shapes of drivers."""

from typing import Annotated, Literal, NotRequired, TypedDict

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gateway.handlers.common_shapes import DriverId, DriverName, Email, OvnDriverId, Reference, Time
from gateway.http.query_parameters import PageQuery
from shared.drivers.bank_details import BankAccount, DriverIdentity
from shared.schema.organizations import DriverStatus, KycStatus

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200, examples=["John Smith"])]
EmailAddress = Annotated[
    str, msgspec.Meta(max_length=254, pattern=r"^[!-?A-~]+@[!-?A-~]+\.[!-?A-~]+\Z", examples=["john@example.com"])
]
Phone = Annotated[str, msgspec.Meta(pattern=r"^\+[1-9][0-9]{6,14}\Z", examples=["+15551234567"])]


class RegisterDriver(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /drivers`. `phone` is E.164, for example +15551234567."""

    ovnDriverId: Annotated[Reference, msgspec.Meta(examples=["OVN-DRIVER-789"])]
    name: Name
    email: EmailAddress
    phone: Phone | None = None


class UpdateDriver(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `PUT /drivers/:id`; fields that are left out stay unchanged."""

    name: Name | UnsetType = UNSET
    email: EmailAddress | UnsetType = UNSET
    phone: Phone | UnsetType | None = UNSET
    status: Literal["active", "inactive"] | UnsetType = UNSET
    bankAccount: BankAccount | UnsetType = UNSET
    identity: DriverIdentity | UnsetType = UNSET


class ListDrivers(PageQuery, kw_only=True):
    status: DriverStatus | UnsetType = UNSET


class Driver(TypedDict):
    """A driver."""

    id: DriverId
    ovnDriverId: OvnDriverId
    name: DriverName
    email: Email
    phone: Annotated[str, Meta(examples=["+15551234567"])] | None
    status: DriverStatus
    kycStatus: KycStatus
    totalPaid: Annotated[int, Meta(description="The net amount of the completed payouts, in cents.", examples=[125000])]
    pendingPayouts: Annotated[int, Meta(description="Payouts that are still open.", examples=[0])]
    bankAccountLast4: Annotated[str, Meta(examples=["6789"])] | None
    createdAt: Time
    registrationError: NotRequired[str]


class DeletedDriver(TypedDict):
    """A deleted driver."""

    id: DriverId
    status: Literal["inactive"]
    deletedAt: Time
