"""From a unit to its Verilog, lint, proofs, seeded defects, synthesis and report.

Each tool beside amaranth is looked for and optional; what is missing is said in one sentence with where to get it.
"""
