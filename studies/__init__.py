"""Published systems rebuilt on the shared machinery, one file each."""
