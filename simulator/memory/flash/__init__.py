"""Flash drives: dies behind channels, a mapping layer with collection of garbage, a write cache and a host link."""
