"""Rotating the pepper: what still depends on the previous one, and sealing customers' webhook secrets anew.

API keys are hashed, so only whoever has one can have it hashed anew: that happens when it is used. Drivers' details are
passed on under a key that depends on how they are sealed, so they stay as they are and are soon gone.
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
    """What would stop working without the previous pepper."""

    key_ids: list[uuid.UUID]
    """API keys that were not used since, or made before it was noted which pepper is theirs."""
    replaced_keys: int
    """Keys that were replaced and still work for a while: their hash is not made anew."""
    webhooks: int
    """Customers' webhooks whose secret is sealed under it."""
    drivers: int
    """Drivers whose bank details are sealed under it and not passed on yet."""

    @property
    def none(self) -> bool:
        """Whether it can be taken away."""
        return not (self.key_ids or self.replaced_keys or self.webhooks or self.drivers)


def load_pepper_dependents(connection: sa.Connection, current: str) -> PepperDependents:
    """What there is at this moment; sessions are not counted, for they end within a day."""
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
            any(not _opens(one, current, signing.SECRET_PURPOSE) for one in row if one is not None) for row in webhooks
        ),
        sum(not _opens(one, current, bank_details.DETAILS_KEY_PURPOSE) for one in drivers),
    )


def reseal_webhook_secrets(connection: sa.Connection, peppers: tuple[str, ...], after: uuid.UUID) -> uuid.UUID | None:
    """Seals the secrets of the next portion of webhooks under the first pepper, deleted ones too. Returns how far it
    came; None: to the end. A secret that none of the peppers opens is left as it is.
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
        sealed = [one and _sealed_again(one, peppers) for one in before]
        if sealed != before:
            connection.execute(
                sa.text("""
                    UPDATE webhook_endpoints SET sealed_secret = :secret, sealed_previous_secret = :previous
                    WHERE id = :id
                """),
                {"id": row.id, "secret": sealed[0], "previous": sealed[1]},
            )
    return rows[-1].id if len(rows) == RESEAL_SLICE_ROWS else None


def _sealed_again(sealed: bytes, peppers: tuple[str, ...]) -> bytes:
    """What the first pepper opens already stays, and what none opens."""
    if _opens(sealed, peppers[0], signing.SECRET_PURPOSE):
        return sealed
    try:
        return encryption.cipher(peppers, signing.SECRET_PURPOSE).rotate(sealed)
    except InvalidToken:
        return sealed


def _opens(sealed: bytes, pepper: str, purpose: bytes) -> bool:
    try:
        encryption.cipher(pepper, purpose).decrypt(sealed)
    except InvalidToken:
        return False
    return True
