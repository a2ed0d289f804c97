"""KV memory of a serving engine: how requests get room for their keys and values, and what of it is reused."""
