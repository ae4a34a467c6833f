"""What columns may hold, by table. The tables themselves are in `shared.models.tables`, which no service loads."""
