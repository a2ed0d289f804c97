"""Edits of a workload: other attention, other formats, other order, from a workload to a workload."""
