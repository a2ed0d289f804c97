"""The command line. `main` is the entry point; everything heavy is imported inside the commands."""

from dse.cli.entry import main

__all__ = ["main"]
