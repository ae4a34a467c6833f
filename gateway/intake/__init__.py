"""Group commit of payouts and provider webhooks."""
