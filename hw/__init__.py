"""What the workload runs on: machine descriptions, RTL and cost tables. Imports workloads only."""
