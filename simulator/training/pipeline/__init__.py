"""Pipelines: schedules, their execution, and the activations they hold."""
