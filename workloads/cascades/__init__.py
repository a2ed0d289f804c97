"""The library of cascades: each in a text file of its own, with its source."""

from workloads.cascades.catalogue import cascade_names, load_cascade

__all__ = ["cascade_names", "load_cascade"]
