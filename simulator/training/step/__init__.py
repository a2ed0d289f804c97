"""A training step over many devices: from a setup to its times and memory."""
