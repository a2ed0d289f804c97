"""Training steps in the event engine."""

from simulator.training.replay import ReplayedStep, Transfer, replay_step, step_graph

__all__ = ["ReplayedStep", "Transfer", "replay_step", "step_graph"]
