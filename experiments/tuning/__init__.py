"""Tuning (§5.2.2): what is searched, what is tried next, trials as runs, and what is reported."""
