"""Predictions beside measurements: error per operation, phase and GPU, printed as it is."""

from dse.validation.measurements import Measurement, read_measurements
from dse.validation.predict import Skipped, predict
from dse.validation.summary import Comparison, Group, compare, groups

__all__ = ["Comparison", "Group", "Measurement", "Skipped", "compare", "groups", "predict", "read_measurements"]
