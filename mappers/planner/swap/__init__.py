"""Activations of a training step: what stays on the device, what leaves and comes back, what is computed again."""

from mappers.planner.swap.machine import KERNELS, HostTier, Kernels, Machine, machine_of
from mappers.planner.swap.plan import POLICIES, PlannedStep, plan_step
from mappers.planner.swap.setting import SwapSetting, setting_of

__all__ = [
    "KERNELS",
    "POLICIES",
    "HostTier",
    "Kernels",
    "Machine",
    "PlannedStep",
    "SwapSetting",
    "machine_of",
    "plan_step",
    "setting_of",
]
