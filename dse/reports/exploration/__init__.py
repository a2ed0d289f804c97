"""What came of an exploration, to look at: one interactive page, figures for papers, which parameter matters."""
