"""Machine descriptions: engines, tiers and links as typed values, in YAML with units, with a source for every number."""
