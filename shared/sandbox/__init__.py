"""The sandbox's reset and its sample data. Owns no table; locks the organization, then its sandbox wallet."""
