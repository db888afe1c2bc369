"""What the pipeline does to its rows: pure functions over whole batches, without Beam."""
