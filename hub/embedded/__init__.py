"""The services a hub brings along when no address of one is set: PostgreSQL, Valkey and a small model."""
