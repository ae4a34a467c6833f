"""How does Paystream sign a webhook?"""

import hashlib
import hmac


def sign_webhook(secret: str, body: bytes, at_seconds: int) -> str:
    """The X-Signature header: `t={unix seconds},v1={hex HMAC-SHA256(secret, "{t}.{raw body}")}`."""
    digest = hmac.digest(secret.encode(), b"%d." % at_seconds + body, hashlib.sha256).hex()
    return f"t={at_seconds},v1={digest}"
