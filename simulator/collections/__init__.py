"""Collections: families of like pieces (experts, neurons, blocks) with a home tier and a cache in a faster one."""

from simulator.collections.cached import CachedCollection, CacheOutcome, run_cache
from simulator.collections.lru import lru_misses

__all__ = ["CacheOutcome", "CachedCollection", "lru_misses", "run_cache"]
