"""Pepper rotation: what still depends on the previous pepper, and resealing webhook secrets.

API keys are hashed again when used. Bank details are not resealed: their key at the provider depends on the seal.
"""

import uuid
from typing import Final, NamedTuple

import sqlalchemy as sa
from cryptography.fernet import InvalidToken

from shared.drivers import bank_details
from shared.events import signing
from shared.identity.api_keys.tokens import pepper_tag
from shared.platform import encryption

RESEAL_SLICE_ROWS: Final = 500


class PepperDependents(NamedTuple):
    """What stops working without the previous pepper."""

    key_ids: list[uuid.UUID]
    """API keys not used since, or created before their pepper was recorded."""
    replaced_keys: int
    """Replaced keys that still work for a while: they are not hashed again."""
    webhooks: int
    """Customers' webhook endpoints whose secret is sealed with it."""
    drivers: int
    """Drivers whose bank details are sealed with it and not passed on yet."""

    @property
    def is_empty(self) -> bool:
        """Whether the previous pepper can be removed."""
        return not (self.key_ids or self.replaced_keys or self.webhooks or self.drivers)


def load_pepper_dependents(connection: sa.Connection, current: str) -> PepperDependents:
    """Load what depends on other peppers, except sessions, that end within a day."""
    key_ids = connection.scalars(
        sa.text("""
            SELECT id FROM api_keys
            WHERE key_hash IS NOT NULL AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
                  AND key_pepper IS DISTINCT FROM :tag ORDER BY last_used_at DESC NULLS LAST, id
        """),
        {"tag": pepper_tag(current)},
    )
    replaced = "SELECT count(*) FROM api_keys WHERE revoked_at IS NULL AND previous_valid_until > now()"
    webhooks = connection.execute(
        sa.text("SELECT sealed_secret, sealed_previous_secret FROM webhook_endpoints WHERE deleted_at IS NULL")
    )
    drivers = connection.scalars(sa.text("SELECT sealed_details FROM drivers WHERE sealed_details IS NOT NULL"))
    return PepperDependents(
        list(key_ids),
        connection.scalar(sa.text(replaced)) or 0,
        sum(
            any(not _can_open(sealed, current, signing.SECRET_PURPOSE) for sealed in row if sealed is not None)
            for row in webhooks
        ),
        sum(not _can_open(sealed, current, bank_details.DETAILS_KEY_PURPOSE) for sealed in drivers),
    )


def reseal_webhook_secrets(connection: sa.Connection, peppers: tuple[str, ...], after: uuid.UUID) -> uuid.UUID | None:
    """Reseal the secrets of the next slice of endpoints, deleted ones included, with the first pepper.

    Locks their rows. Returns the cursor of the next slice, or None at the end. Leaves a secret that no pepper opens.
    """
    rows = connection.execute(
        sa.text("""
            SELECT id, sealed_secret, sealed_previous_secret FROM webhook_endpoints
            WHERE id > :after ORDER BY id LIMIT :limit FOR NO KEY UPDATE
        """),
        {"after": after, "limit": RESEAL_SLICE_ROWS},
    ).all()
    for row in rows:
        before = list(row[1:])
        sealed = [one and _reseal(one, peppers) for one in before]
        if sealed != before:
            connection.execute(
                sa.text("""
                    UPDATE webhook_endpoints SET sealed_secret = :secret, sealed_previous_secret = :previous
                    WHERE id = :id
                """),
                {"id": row.id, "secret": sealed[0], "previous": sealed[1]},
            )
    return rows[-1].id if len(rows) == RESEAL_SLICE_ROWS else None


def _reseal(sealed: bytes, peppers: tuple[str, ...]) -> bytes:
    if _can_open(sealed, peppers[0], signing.SECRET_PURPOSE):
        return sealed
    try:
        return encryption.cipher(peppers, signing.SECRET_PURPOSE).rotate(sealed)
    except InvalidToken:
        return sealed


def _can_open(sealed: bytes, pepper: str, purpose: bytes) -> bool:
    try:
        encryption.cipher(pepper, purpose).decrypt(sealed)
    except InvalidToken:
        return False
    return True
