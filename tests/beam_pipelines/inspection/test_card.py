"""The tables that are printed, the limits that are named, and the data card."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beam_pipelines.inspection import tables
from beam_pipelines.inspection.card import data_card
from beam_pipelines.inspection.config import CardFields
from beam_pipelines.inspection.limits import known_limits
from beam_pipelines.inspection.run import gather
from beam_pipelines.inspection.statistics import Context, Statistics
from cosernn_tf.schema import SESSION_FEATURES
from tests.workspaces import random_table, write_sessions

from .test_statistics import of_options, one_session_each

SECTIONS = (
    "What it is",
    "Fields",
    "How it was made",
    "Splits",
    "Statistics",
    "Known limits and biases",
    "Privacy",
    "How to load it",
    "Citation",
    "Checksums",
)


@pytest.fixture(scope="module")
def statistics(tmp_path_factory) -> Statistics:
    directory = of_options(
        tmp_path_factory.mktemp("card"),
        counters={"read": 90, "kept": 80, "duplicates": 7, "rejected_bad_device": 3},
        options={"listens": ["/home/anna/l"], "listens_format": "canonical", "test_days": 1_400},
    )
    return gather(directory)


def card(
    statistics: Statistics,
    fields: CardFields | None = None,
    *,
    has_rejected_rows: bool = False,
    has_state: bool = False,
) -> str:
    return data_card(
        statistics,
        fields or CardFields(),
        plots={"plots/gaps.png": "gaps"},
        has_rejected_rows=has_rejected_rows,
        has_state=has_state,
    )


# Tables ------------------------------------------------------------------------------------------


def test_printed_tables_are_aligned():
    table = tables.Table("Sums", ("what", "n"), (("音楽", "1,000"), ("abc", "7")), note="So.")
    assert table.to_text() == "Sums      n\n-----------\n音楽  1,000\nabc       7\nSo.\n"
    assert table.to_markdown() == (
        "| what | n |\n| --- | ---: |\n| 音楽 | 1,000 |\n| abc | 7 |\n\nSo.\n"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (59.6, "60 s"),
        (1_200, "20 min"),
        (5_700, "95 min"),
        (9_000, "2.5 h"),
        (172_800, "2 days"),
        (86_400 * 1_755.2, "1,755.2 days"),
    ],
)
def test_durations(seconds, text):
    assert tables.duration(seconds) == text


def test_a_little_is_not_nothing():
    assert tables.percent(0, 5) == "0.0 %"
    assert tables.percent(1, 10_000) == "< 0.1 %"
    assert tables.percent(9_999, 10_000) == "> 99.9 %"
    assert tables.percent(1, 8) == "12.5 %"
    assert tables.percent(5, 5) == "100.0 %"
    assert tables.percent(0, 0) == "-"
    assert [tables.size(n) for n in (5, 25_000, 2_500_000, 10**11)] == [
        "0.0 kB",
        "25.0 kB",
        "2.5 MB",
        "100.0 GB",
    ]


def test_names_of_a_log_cannot_break_a_table():
    assert tables.escaped("a|b\\ <i> & *c* `d` [e](f) _g_ h_i") == (
        r"a\|b\\ \<i\> \& \*c\* \`d\` \[e\](f) \_g\_ h_i"
    )
    assert tables.one_line("a\r\n\tb\x1b[0m\u202e") == "a b [0m"
    assert tables.one_line("\n") == "(blank)"
    assert tables.one_line("x" * 41) == "x" * 39 + "…"
    assert tables.one_line("x" * 40) == "x" * 40


def test_rare_stream_sources_are_summed(statistics):
    sources = tuple(Context(f"s{n}", n, 10 * n, 2 * n, n, 0.5) for n in range(30))
    table = tables.contexts(dataclasses.replace(statistics, stream_sources=sources))[1]
    assert [row[0] for row in table.rows] == [f"s{n}" for n in range(29, 9, -1)] + ["9 others"]
    assert table.rows[-1][1::2] == ("45", "450", "50.0 %")


def test_all_numbers_are_printed(statistics):
    text = tables.format_text(statistics)
    for value in (
        statistics.users,
        statistics.sessions,
        statistics.listens,
        statistics.kept_listens,
        *(split.listens for split in statistics.splits),
        *(hour.sessions for hour in statistics.hours),
        statistics.tracks_per_session.maximum,
        statistics.sessions_per_user.quantiles["p95"],
    ):
        assert re.search(rf"(?<![\d,.]){value:,}(?![\d,.])", text), value
    assert f"{100 * statistics.skip_rate:.1f}" not in ("0.0", "100.0")
    assert re.search(r"bad device +3 +3\.3 %", text)
    assert re.search(r"duplicates +7 +7\.8 %", text)


# Limits ------------------------------------------------------------------------------------------


def limits(statistics: Statistics, **changes: object) -> str:
    return "\n".join(known_limits(dataclasses.replace(statistics, **changes)))  # type: ignore[arg-type]


def contexts(**sessions: int) -> tuple[Context, ...]:
    return tuple(Context(name, number, 1, 1, 0, 0.0) for name, number in sessions.items())


def test_limits_are_those_of_the_data(statistics):
    total = statistics.sessions
    cases: list[tuple[str, dict[str, object], dict[str, object]]] = [
        ("No device is known", {"devices": contexts(unknown=total)}, {}),
        (
            "The device of 25.0 % of the sessions is unknown",
            {"devices": contexts(unknown=25, web=75), "sessions": 100},
            {},
        ),
        (
            "95.0 % of the sessions have the device `web`",
            {"devices": contexts(unknown=5, web=95), "sessions": 100},
            {},
        ),
        ("does not tell what was skipped", {"skip_rules": {"assumed_played": 9}}, {}),
        (
            "from the time played (below 30 seconds is skipped) for 40.0 %",
            {"skip_rules": {"given": 6, "from_ms_played": 4}},
            {"skip_rules": {"given": 6}},
        ),
        ("No listen was skipped", {"skipped": 0}, {}),
        ("No user's age is known", {"users_with_age": 0}, {"users_with_age": 1}),
        ("The age of 75.0 %", {"users": 100, "users_with_age": 25}, {"users_with_age": 6}),
        ("is that of UTC", {"off_utc_share": 0.0}, {"off_utc_share": 0.1}),
        ("nobody knows", {"options": {"listens_format": "yambda"}}, {}),
        ("in steps of 10 min", {"step_seconds": 600}, {"step_seconds": None}),
        ("had before", {"popularity": popularity(statistics, repeat_share=0.82)}, {}),
        ("Popularity is uneven", {"popularity": popularity(statistics, top_share=0.3)}, {}),
        ("were left out: bad device", {}, {"rejected": {}, "rejected_share": None}),
        ("named the same user", {}, {"counters": {}}),
        ("cut from the vocabulary", {"listens_cut": 5}, {"listens_cut": 0}),
    ]
    plain = {"popularity": popularity(statistics, repeat_share=0.1, top_share=0.0)}
    for text, with_it, without in cases:
        assert text in limits(statistics, **with_it), text
        assert text not in limits(statistics, **{**plain, **without}), text


def popularity(statistics: Statistics, **changes: Any) -> object:
    return dataclasses.replace(statistics.popularity, top_tracks=2, **changes)


def test_limits_of_users_and_splits(tmp_path):
    heavy = random_table(0, num_users=4, sessions_per_user=[1, 1, 2, 1000])
    text = "\n".join(known_limits(gather(write_sessions(tmp_path / "heavy", heavy))))
    assert re.search(r"One user has 99\.\d % of the sessions", text)
    assert re.search(r"\d+\.\d % of the users have one session only", text)
    text = "\n".join(known_limits(gather(write_sessions(tmp_path / "one", one_session_each(1)))))
    assert "The training split is empty" in text
    assert "The validation split is empty" in text
    assert "The test split is empty" not in text
    assert "100.0 % of the users of the test split have no session before it" in text
    assert "One user" not in text


# The card ----------------------------------------------------------------------------------------


def test_the_card_has_every_section_and_feature(statistics):
    text = card(statistics)
    assert tuple(re.findall(r"^## (.*)$", text, re.M)) == SECTIONS
    for feature in SESSION_FEATURES:
        assert f"| `{feature.name}` |" in text
    for part in re.split(r"^## .*$", text, flags=re.M)[1:]:
        assert len(part.strip()) > 60
    assert statistics.sessions_sha256 in text
    for checksum in statistics.vocabularies.values():
        assert checksum in text
    assert "![Gaps](plots/gaps.png)" in text
    assert "`test_days` 1,400" in text
    assert f"{statistics.users:,} users" in text
    # Every row of a table has the cells of its heading.
    for block in re.findall(r"(?:^\|.*\n)+", text, re.M):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1, block


def test_what_a_person_says_of_it(statistics):
    text = card(statistics)
    assert text.startswith("# Listening sessions\n")
    for field in ("Author", "Licence", "Source"):
        assert f"- {field}: not stated\n" in text
    fields = CardFields(title="Tea\n and music", author="Anna", licence="CC BY 4.0", source="Me")
    text = card(statistics, fields)
    assert text.startswith("# Tea and music\n")
    assert "- Author: Anna\n- Licence: CC BY 4.0\n- Source: Me\n" in text
    assert "not stated" not in text


def test_the_card_names_no_path_and_tells_of_raw_rows(statistics):
    text = card(statistics)
    assert "anna" not in text
    assert not re.search(r"(?<![\w.:/])/\w+/", text)
    assert "rejected.jsonl" not in text
    assert "`state/`" not in text
    assert "Users have the ids of the log, as they stood there" in text
    text = card(statistics, has_rejected_rows=True)
    assert "`rejected.jsonl-*` holds rows of the log as they stood: do not publish" in text
    assert "`state/` holds each user's latest listens" in card(statistics, has_state=True)


def test_the_card_says_how_ids_are_stored(statistics):
    hashed = {"user_id": "hmac-sha256", "track_id": "raw", "label": "l", "check": "c"}
    text = card(dataclasses.replace(statistics, ids=hashed), has_rejected_rows=True)
    assert "Users have keyed hashes (hmac-sha256) in place of ids" in text
    assert "Tracks have the ids of the log" in text
    assert "as they stood: do not" not in text
    assert "do not publish these files" in text


def test_its_examples_run(tmp_path, monkeypatch, capsys):
    """One here; the other is WORKSPACE.md's, whose test runs it."""
    table = random_table(1, num_users=9, sessions_per_user=3)
    directory = write_sessions(tmp_path / "sessions", table)
    text = card(gather(directory))
    monkeypatch.chdir(tmp_path)
    of_tfds, example = python_examples(text)
    page = (Path(__file__).parents[3] / "WORKSPACE.md").read_text("utf-8")
    assert of_tfds.replace('"sessions"', '"workspace/sessions"') in page
    exec(compile(example, "example", "exec"), {})
    counts = re.findall(r"(\d+) users, (\d+) sessions", capsys.readouterr().out)
    assert np.array(counts, int).sum(axis=0).tolist() == [9, table.num_sessions]


def python_examples(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, re.S)


def test_little_data_makes_a_card(tmp_path):
    directory = write_sessions(tmp_path / "sessions", one_session_each(1, cut=True))
    text = card(gather(directory))
    assert tuple(re.findall(r"^## (.*)$", text, re.M)) == SECTIONS
    assert "nan" not in text
    assert "None" not in text
    assert Path(tmp_path).name not in text
