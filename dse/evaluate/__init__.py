"""Designs evaluated: one by one on the road, or many at once at roofline fidelity."""
