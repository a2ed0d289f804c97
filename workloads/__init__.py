"""What is computed: Einsums, cascades, models, number formats and traces. Imports nothing of the other packages."""
