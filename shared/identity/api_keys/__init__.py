"""API keys: token format, credentials, and requesting, approving, regenerating and revoking keys."""

from shared.identity.api_keys.credentials import (
    SCOPES,
    SCOPES_BY_ROLE,
    Credential,
    add_approved_key,
    authenticate_key,
    find_credential,
)
from shared.identity.api_keys.tokens import (
    generate_key,
    generate_session_token,
    hash_token,
    is_well_formed_key,
    is_well_formed_session_token,
)

__all__ = [
    "SCOPES",
    "SCOPES_BY_ROLE",
    "Credential",
    "add_approved_key",
    "authenticate_key",
    "find_credential",
    "generate_key",
    "generate_session_token",
    "hash_token",
    "is_well_formed_key",
    "is_well_formed_session_token",
]
