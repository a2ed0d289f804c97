"""The DRAM-controller space of ArchGym as a benchmark: every design of it, and what engines miss of the best."""
