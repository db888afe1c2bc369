"""CoSeRNN in TensorFlow: contextual and sequential user embeddings for music recommendation."""

__version__ = "0.1.0"
