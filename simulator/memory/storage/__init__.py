"""Computational storage: an engine inside a drive that computes attention over keys and values held in flash."""
