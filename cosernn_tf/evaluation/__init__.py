"""Evaluation of session predictions (§6): heuristics, candidates, metrics, tests and tables.

Pure NumPy over a `SessionTable` of any users; what a user's sessions get never depends on the other
users of the table, so that shards are scored one by one:

    table → embeddings → predictions → `scores.score_sessions` → `summary.SummaryBuilder.add`

and, after the last shard, `SummaryBuilder.build` → `report.format_table`, `report.metrics_json`.
Tests over sessions are in `significance`, those with users as clusters in `user_sums` and
`clusters`; `comparisons` puts both together.
"""
