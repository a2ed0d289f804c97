"""Collections: families of like pieces (experts, neurons, blocks) with a home tier and a cache in a faster one."""

from simulator.collections.cached import CachedCollection, CacheOutcome, LayerNeed, run_cache
from simulator.collections.fetch import FETCHES, Fetch
from simulator.collections.lru import lru_misses
from simulator.collections.replacement import Replacement, replacement

__all__ = [
    "FETCHES",
    "CacheOutcome",
    "CachedCollection",
    "Fetch",
    "LayerNeed",
    "Replacement",
    "lru_misses",
    "replacement",
    "run_cache",
]
