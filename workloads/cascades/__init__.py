"""The library of cascades: each in a text file of its own, with its source; and families of them."""

from workloads.cascades.catalogue import cascade_names, load_cascade
from workloads.cascades.families import cascade_and_sizes, cascade_families, family, family_cascade

__all__ = ["cascade_and_sizes", "cascade_families", "cascade_names", "family", "family_cascade", "load_cascade"]
