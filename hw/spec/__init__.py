"""Machine descriptions: engines, tiers and links as typed values, in YAML with units, a source for every number."""
