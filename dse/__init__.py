"""Which design is better: the command line, reports and exploration."""
