"""Row types of API keys and their API payload."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from shared.platform.clock import format_rfc3339
from shared.platform.ids import KEY, public_id
from shared.schema.organizations import ApprovalStatus, Mode

NEW_KEY_NOTE: Final = "Save this key now. It will not be shown again."
PENDING_KEY_NOTE: Final = "An owner or admin has to approve a production key; it is shown once, at approval."


class KeyRow(NamedTuple):
    id: uuid.UUID
    name: str
    mode: str
    prefix: str
    scopes: list[str]
    created_by: str
    """A user's email, as is `decided_by`."""
    decided_by: str | None
    approval_status: str
    approval_reason: str | None
    rejection_reason: str | None
    decided_at: datetime | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None

    def is_usable(self, now: datetime) -> bool:
        return (
            self.approval_status == ApprovalStatus.APPROVED
            and self.revoked_at is None
            and (self.expires_at is None or self.expires_at > now)
        )


class NewKey(NamedTuple):
    name: str
    mode: Mode
    scopes: Sequence[str]
    expires_in_days: int | None
    approval_reason: str | None


class IssuedKey(NamedTuple):
    """A key, with its text if it was just generated."""

    row: KeyRow
    text: str | None


def key_payload(row: KeyRow, now: datetime) -> dict[str, Any]:
    """The key as the API shows it."""
    approved = row.approval_status == ApprovalStatus.APPROVED
    return {
        "id": public_id(KEY, row.id),
        "name": row.name,
        "mode": row.mode,
        "prefix": row.prefix,
        "scopes": row.scopes,
        "created_by": row.created_by,
        "approval_status": row.approval_status,
        "approval_reason": row.approval_reason,
        "approved_by": row.decided_by if approved else None,
        "approved_at": _optional_time(row.decided_at) if approved else None,
        "rejected_at": None if approved else _optional_time(row.decided_at),
        "rejection_reason": row.rejection_reason,
        "created_at": format_rfc3339(row.created_at),
        "expires_at": _optional_time(row.expires_at),
        "last_used_at": _optional_time(row.last_used_at),
        "revoked_at": _optional_time(row.revoked_at),
        "is_usable": row.is_usable(now),
    }


def _optional_time(moment: datetime | None) -> str | None:
    return None if moment is None else format_rfc3339(moment)
