"""What the numbers of a machine do to the results of one run on it."""
