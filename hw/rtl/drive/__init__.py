"""What drives a unit: stimulus into a simulator, and what comes back held against golden model and contract."""
