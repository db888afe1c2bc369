"""Which shares of bad rows are too many, and what is said of them."""

import pytest

from beam_pipelines.rules.refusals import example_of, nothing_kept, too_many_bad
from beam_pipelines.rules.rows import NOT_A_TRACK
from beam_pipelines.rules.tally import Example, Tally

EXAMPLE = Example("log/a.csv", 1_234, "b,,c")


def refusals(counters: dict[str, int], limit: float) -> list[str]:
    examples = {name: EXAMPLE for name in counters if name.startswith("rejected_")}
    found = too_many_bad(
        Tally(counters, examples=examples),
        limit=limit,
        listens="log/",
        users="users.csv",
        rejected="out/rejected.jsonl-*",
    )
    return list(found)


@pytest.mark.parametrize("rows", [100, 300, 700, 1_100, 8_300, 10**12])
@pytest.mark.parametrize("percent", [1, 7, 29, 58])
def test_the_limit_itself_passes_and_one_row_more_does_not(rows, percent):
    """Also where 100 x 0.29 is more than 29 in floating point."""
    limit = float(f"0.{percent:02}")
    bad = rows * percent // 100
    assert refusals({"read": rows, "rejected_malformed": bad}, limit) == []
    assert len(refusals({"read": rows, "rejected_malformed": bad + 1}, limit)) == 1


def test_the_ends_of_the_range():
    assert refusals({"read": 0}, 0) == []
    assert refusals({"read": 10**9, "rejected_malformed": 1}, 0) != []
    assert refusals({"read": 5, "rejected_malformed": 5}, 1) == []


def test_what_is_no_music_does_not_count():
    counters = {"read": 1_000, f"rejected_{NOT_A_TRACK}": 900, "rejected_bad_timestamp": 1}
    assert refusals(counters, 0.01) == []
    (refusal,) = refusals({**counters, "rejected_bad_timestamp": 2}, 0.01)
    assert refusal.startswith("2 of 100 rows of --listens=log/ are bad")
    assert NOT_A_TRACK not in refusal


def test_listens_and_users_count_apart():
    counters = {"read": 10**6, "users_read": 4, "rejected_users_bad_age": 1}
    assert refusals({**counters, "rejected_malformed": 5_000}, 0.25) == []
    (refusal,) = refusals({**counters, "rejected_malformed": 5_000}, 0.249)
    assert refusal.startswith("1 of 4 rows of --users=users.csv are bad")
    assert len(refusals({**counters, "rejected_malformed": 5_000}, 0.001)) == 2


def test_a_refusal_says_what_was_wrong_where_and_what_to_do():
    counters = {
        "read": 9_000,
        "rejected_bad_timestamp": 40,
        "rejected_bad_skipped": 1_700,
        "rejected_malformed": 2,
        "rejected_timestamp_out_of_range": 60,
        "rejected_missing_user_id": 0,
    }
    (refusal,) = refusals(counters, 0.01)
    assert refusal == (
        "1,802 of 9,000 rows of --listens=log/ are bad, more than --max_bad_fraction=0.01 allows: "
        "1,700 bad_skipped (the first: log/a.csv, row 1,234: b,,c), 60 timestamp_out_of_range (the "
        "first: log/a.csv, row 1,234: b,,c; timestamps are UTC seconds, not milliseconds), 40 "
        "bad_timestamp (the first: log/a.csv, row 1,234: b,,c), 2 malformed; mend them, or give "
        "--max_bad_fraction=1 to keep the other rows and look at the bad ones in "
        "out/rejected.jsonl-*"
    )


def test_the_first_example_is_kept_whatever_the_order_of_the_parts():
    parts = [
        Tally({"rejected_a": 1}, examples={"rejected_a": Example(file, row, "x")})
        for file, row in (("b", 1), ("a", 10), ("a", 9), ("c", 2))
    ]
    for order in (parts, parts[::-1]):
        total = sum(order, Tally())
        assert total.examples == {"rejected_a": Example("a", 9, "x")}
        assert total.counters == {"rejected_a": 4}


def test_an_example_is_one_line_of_bounded_length():
    example = example_of("a", 1, "é\n\x00\x1b[31m\ud800\u2028" + "z" * 10**6)
    assert example.content.startswith(r"é\n\x00\x1b[31m\ud800\u2028zzz")
    assert example.content.endswith("z…")
    assert len(example.content) < 300


def test_a_log_without_a_listen():
    assert nothing_kept(Tally({"read": 0}), listens="log/").startswith("--listens=log/ has no rows")
    counters = {"read": 3, f"rejected_{NOT_A_TRACK}": 3}
    tally = Tally(counters, examples={f"rejected_{NOT_A_TRACK}": EXAMPLE})
    assert "all 3 rows of --listens=log/ were rejected: 3 not_a_track" in nothing_kept(
        tally, listens="log/"
    )
