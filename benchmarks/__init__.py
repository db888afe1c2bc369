"""Measurements of whole commands against other ways to do the same work; see README.md."""
