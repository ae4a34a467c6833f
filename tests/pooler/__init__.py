"""What needs a pooler before the database: `make pooler`."""
