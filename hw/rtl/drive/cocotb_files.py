"""What the process that starts a Verilog simulator and the bench inside it agree upon."""

from __future__ import annotations

__all__ = ["JOBS", "TRACES"]

JOBS, TRACES = "TIERCADE_RTL_JOBS", "TIERCADE_RTL_TRACES"
"""Environment variables: the file that jobs are read from, and the one their traces are written to (pickles, both
written by this package in a folder of their own)."""
