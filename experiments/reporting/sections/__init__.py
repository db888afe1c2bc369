"""A module a section of the report: from what was read to tables and figures."""
