"""Environments that the settings accept: the least one, and one of production."""

RANDOM = "f3a1c97be2d04586" * 3
PRODUCTION = {
    "OVNPAY_ENVIRONMENT": "production",
    "OVNPAY_DATABASE_URL": f"postgresql://pay:{RANDOM}@db/pay",
    "OVNPAY_MIGRATION_DATABASE_URL": f"postgresql://owner:{RANDOM}@db/pay",
    "OVNPAY_REDIS_URL": f"redis://:{RANDOM}@redis/0",
    "OVNPAY_KEY_PEPPER": RANDOM,
    "OVNPAY_PAYSTREAM_WEBHOOK_SECRET": f"whsec_{RANDOM}",
    "OVNPAY_PAYSTREAM_TEST_KEY": f"psk_test_{RANDOM}",
    "OVNPAY_PAYSTREAM_LIVE_KEY": f"psk_live_{RANDOM}",
}
REDIS = {"OVNPAY_REDIS_URL": "redis://redis/0"}
NEEDED = {"OVNPAY_DATABASE_URL": "postgresql://localhost/x", "OVNPAY_REDIS_URL": "redis://localhost"}
