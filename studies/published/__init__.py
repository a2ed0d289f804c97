"""Published numbers too many to stand in a study's own file, each table with its source."""
