"""API keys: their form, the wallet behind one, and their life from request to revocation."""

from shared.identity.api_keys.credentials import SCOPES, SCOPES_OF, Credential, add, find, identify
from shared.identity.api_keys.tokens import generate, generate_session, hashed, well_formed, well_formed_session

__all__ = [
    "SCOPES",
    "SCOPES_OF",
    "Credential",
    "add",
    "find",
    "generate",
    "generate_session",
    "hashed",
    "identify",
    "well_formed",
    "well_formed_session",
]
