"""Activations and states that leave the devices, and where that hides."""
