"""One file for each source: how its cases are found and read."""
