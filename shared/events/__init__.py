"""Customer webhooks: where customers want to hear of their events, and how each event gets there."""
