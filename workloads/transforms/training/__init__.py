"""Transforms of training steps: how they are divided, stored and run."""
