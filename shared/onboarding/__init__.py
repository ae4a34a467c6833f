"""Opening organizations and wallets. Owns the tables `organizations` and `wallets`."""
