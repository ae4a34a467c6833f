"""The chaos machine: a seeded plan breaks the whole system under load, and nobody may be lost or paid twice by it."""
