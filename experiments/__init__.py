"""What is run and reported: flagfiles, the quickstart, tables."""
