"""Arithmetic units: integers, floating point, and the functions softmax needs."""
