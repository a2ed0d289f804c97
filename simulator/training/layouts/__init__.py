"""Layouts of a training step: which are possible, which fit, which is fastest."""
