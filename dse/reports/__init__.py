"""What a reader takes away: tables, figures, traces, run folders, pages."""
