"""Sequences of unequal lengths, and devices in a row that hand on."""
