"""What columns may hold, by table. The tables themselves are in `shared.schema.tables`, which no service loads."""
