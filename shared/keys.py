"""API keys: their form, how they are stored, and finding the wallet behind one.

`ovnp_sbox_` or `ovnp_prod_`, 43 base62 characters (256 bits), 6 base62 characters of checksum. The checksum lets
junk be refused without a visit to the database; the hash under a secret pepper is all that is stored.
"""

import hashlib
import hmac
import re
import secrets
import string
import uuid
import zlib
from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

import sqlalchemy as sa

from shared.ids import new_id
from shared.models.organizations import Mode

PREFIXES: Final = {Mode.SANDBOX: "ovnp_sbox_", Mode.PRODUCTION: "ovnp_prod_"}
SCOPES: Final = (
    "drivers:read",
    "drivers:write",
    "payouts:read",
    "payouts:write",
    "batches:read",
    "batches:write",
    "balance:read",
    "webhooks:manage",
    "funding:write",
    "analytics:read",
)
"""Everything that a key can be allowed."""

_BASE62: Final = string.digits + string.ascii_letters
_FORM: Final = re.compile(r"(ovnp_(?:sbox|prod)_[0-9A-Za-z]{43})([0-9A-Za-z]{6})")


class Credential(NamedTuple):
    """What a request may do, from its key alone."""

    key_id: uuid.UUID
    wallet_id: uuid.UUID
    organization_id: uuid.UUID
    mode: str
    currency: str
    scopes: frozenset[str]
    expires_at: datetime | None


def _checksum(head: str) -> str:
    number = zlib.crc32(head.encode())
    digits = ""
    for _ in range(6):
        number, rest = divmod(number, 62)
        digits = _BASE62[rest] + digits
    return digits


def generate(mode: Mode) -> str:
    """A new key, 256 random bits."""
    head = PREFIXES[mode] + "".join(secrets.choice(_BASE62) for _ in range(43))
    return head + _checksum(head)


def well_formed(text: str) -> bool:
    """Whether the text can be a key at all: its form and its checksum are right."""
    match = _FORM.fullmatch(text)
    return match is not None and hmac.compare_digest(_checksum(match[1]), match[2])


def hashed(text: str, pepper: str) -> bytes:
    """What is stored of a key."""
    return hmac.digest(pepper.encode(), text.encode(), hashlib.sha256)


def add(
    connection: sa.Connection,
    wallet_id: uuid.UUID,
    text: str,
    pepper: str,
    name: str,
    now: datetime,
    scopes: Sequence[str] = SCOPES,
) -> uuid.UUID:
    """Stores a key for a wallet; the same key again changes nothing. Returns the key's id."""
    key_id = connection.scalar(
        sa.text("""
            INSERT INTO api_keys (id, wallet_id, name, prefix, key_hash, scopes, created_at)
            VALUES (:id, :wallet_id, :name, :prefix, :key_hash, :scopes, :now)
            ON CONFLICT (key_hash) DO UPDATE SET key_hash = excluded.key_hash RETURNING id
        """),
        {
            "id": new_id(),
            "wallet_id": wallet_id,
            "name": name,
            "prefix": text[:10],
            "key_hash": hashed(text, pepper),
            "scopes": list(scopes),
            "now": now,
        },
    )
    assert isinstance(key_id, uuid.UUID)
    return key_id


def find(connection: sa.Connection, key_hash: bytes, now: datetime) -> Credential | None:
    """The credential behind a key's hash; None when it is unknown, expired or revoked."""
    row = connection.execute(
        sa.text("""
            SELECT api_keys.id, wallets.id, wallets.organization_id, wallets.mode, wallets.currency,
                   api_keys.scopes, api_keys.expires_at
            FROM api_keys JOIN wallets ON wallets.id = api_keys.wallet_id
            WHERE key_hash = :key_hash AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > :now)
        """),
        {"key_hash": key_hash, "now": now},
    ).one_or_none()
    if row is None:
        return None
    key_id, wallet_id, organization_id, mode, currency, scopes, expires_at = row
    return Credential(key_id, wallet_id, organization_id, mode, currency, frozenset(scopes), expires_at)
