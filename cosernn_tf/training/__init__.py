"""Training: the feed of batches, one gradient step, and the run around them."""
