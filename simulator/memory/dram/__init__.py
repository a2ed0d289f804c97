"""DRAM at command level: devices as data, a compiled controller, its plain twin, and a protocol checker."""
