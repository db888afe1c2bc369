"""The random logs have what they are there for."""

from .logs import GAP, random_rows, sessions_of


def test_random_rows_have_every_case():
    rows = random_rows(0)
    sessions = [session for own in sessions_of(rows).values() for session in own]
    assert any(session.seconds_since_last == GAP for session in sessions)
    assert any(len(session.tracks) > 10 for session in sessions)
    assert any(len(session.tracks) == 1 for session in sessions)
    assert {True, False} == {skip for session in sessions for skip in session.skipped}
    keys = [(row["user_id"], row["timestamp"], row["track_id"]) for row in rows]
    assert len(set(keys)) < len(keys)
    times = [(row["user_id"], row["timestamp"]) for row in rows]
    assert len(set(times)) < len(set(keys))
    assert all(
        any(row[name] is None for row in rows)
        for name in rows[0]
        if name not in ("user_id", "track_id", "timestamp")
    )
