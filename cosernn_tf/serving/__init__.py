"""Recommendations just in time (§7): what is kept of a user is carried from session to session."""
