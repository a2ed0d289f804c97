"""What happens over time: scheduling, event execution, energy, and the whole road in one call."""
