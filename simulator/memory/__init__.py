"""Memory devices at the level of their commands."""
