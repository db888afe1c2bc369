"""Recommendations against batch predictions and a sort of all tracks."""

import dataclasses
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest

from cosernn_tf.config import ModelConfig
from cosernn_tf.dataset import read_all
from cosernn_tf.errors import UserError
from cosernn_tf.features import embed_sessions
from cosernn_tf.prediction import Predictions, Predictor
from cosernn_tf.retrieval.index import build_index
from cosernn_tf.runs import INDEX
from cosernn_tf.schema import (
    DAYS_OF_WEEK,
    DEVICES,
    FEATURES,
    SESSION_FEATURES,
    SESSION_GAP_SECONDS,
    Per,
    age_bucket,
)
from cosernn_tf.serving.carrier import Carrier, Starts
from cosernn_tf.serving.contexts import ContextReader
from cosernn_tf.serving.listens import Context
from cosernn_tf.serving.logged import LoggedSessions
from cosernn_tf.serving.recommender import Recommender
from cosernn_tf.serving.step_model import StepModel
from cosernn_tf.table import SessionTable
from cosernn_tf.trained_run import TrainedRun, open_trained_run
from cosernn_tf.windows import evaluation_windows, sequence_data
from cosernn_tf.workspace import Workspace
from tests.cosernn_tf.retrieval.runs import write_run
from tests.workspaces import STREAM_SOURCES, random_table, write_workspace

CLOCK = timezone(timedelta(hours=1))
"""Of all users of `random_table`."""


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> TrainedRun:
    workspace = write_workspace(tmp_path_factory.mktemp("workspace"))
    run = write_run(workspace, "small")
    build_index(run.embeddings, run.embeddings.vectors[:5], run.path / INDEX)
    return run


@pytest.fixture(scope="module")
def workspace(run) -> Workspace:
    return Workspace(run.sessions.path.parent)


@pytest.fixture(scope="module")
def recommender(workspace) -> Recommender:
    return Recommender.open(workspace, "small")


@pytest.fixture(scope="module")
def table(run) -> SessionTable:
    return read_all(run.sessions)


@pytest.fixture(scope="module")
def batch(run, table) -> Predictions:
    """Of every session of the log; no user is longer than the window."""
    data = sequence_data(table, embed_sessions(table, run.embeddings.vectors))
    return Predictor(run.model)(
        data, evaluation_windows(table, first=0, before=None, max_sessions=100)
    )


def at(second: int, clock: timezone = CLOCK) -> datetime:
    return datetime.fromtimestamp(int(second), clock)


def rows_of(answer) -> list[int]:
    return [int(track.track_id.removeprefix("track-")) for track in answer.tracks]


def scores_of(answer) -> np.ndarray:
    return np.array([track.score for track in answer.tracks])


# The prediction ----------------------------------------------------------------------------------


def test_a_real_session_gets_its_batch_prediction(recommender, run, table, batch):
    num_embedded = int(run.embeddings.vectors.any(axis=1).sum())
    gaps = table.seconds_since_last
    wanted = np.flatnonzero((gaps >= SESSION_GAP_SECONDS) | (table.position == 0))
    sessions = [*wanted[:: len(wanted) // 12], wanted[-1], *table.row_splits[:3]]
    assert table.position[sessions].max() > 20
    for session in sessions:
        answer = recommender.recommend_from_log(
            table.user_id[table.user_of_session[session]].decode(),
            Context(at(table.session_start[session]), DEVICES[table.device[session]]),
            k=num_embedded,
        )
        # The scores of all tracks leave no freedom to the embedding.
        scores = run.embeddings.vectors[rows_of(answer)] @ batch.embeddings[session]
        np.testing.assert_allclose(scores_of(answer), scores, atol=1e-5)
        assert answer.long_term_attention == pytest.approx(batch.attention[session, 1], abs=1e-5)
        assert answer.earlier_sessions == table.position[session]
        assert answer.day_of_week == DAYS_OF_WEEK[table.day_of_week[session]]
        assert answer.hour == table.hour[session]


def test_tracks_are_the_nearest_in_order(recommender, run, table, batch):
    session = table.row_splits[2] - 1
    user = table.user_id[1].decode()
    context = Context(at(table.session_start[session]), DEVICES[table.device[session]])
    answer = recommender.recommend_from_log(user, context, k=12)
    scores = run.embeddings.vectors.astype(np.float64) @ batch.embeddings[session]
    scores[~run.embeddings.vectors.any(axis=1)] = -9.0
    assert rows_of(answer) == np.argsort(-scores, kind="stable")[:12].tolist()
    assert [track.rank for track in answer.tracks] == list(range(1, 13))
    assert (answer.user, answer.run) == (user, "small")
    assert answer.at == at(table.session_start[session]).isoformat()


def test_context_is_that_of_the_clock_of_the_user(recommender):
    moment = datetime(2019, 6, 1, 1, 30, tzinfo=UTC)
    answers = {
        offset: recommender.recommend_from_log(
            "user-3", Context(moment.astimezone(timezone(timedelta(hours=offset))), "mobile"), k=5
        )
        for offset in (0, -2, 5)
    }
    contexts = {o: (answer.day_of_week, answer.hour) for o, answer in answers.items()}
    assert contexts == {0: ("Saturday", 1), -2: ("Friday", 23), 5: ("Saturday", 6)}
    first, *others = (scores_of(answer) for answer in answers.values())
    assert all(np.abs(first - other).max() > 1e-4 for other in others)


def test_device_changes_the_answer(recommender):
    moment = datetime(2019, 6, 1, tzinfo=UTC)
    mobile, desktop = (
        scores_of(recommender.recommend_from_log("user-3", Context(moment, device)))
        for device in ("mobile", "desktop")
    )
    assert np.abs(mobile - desktop).max() > 1e-4


def test_before_the_first_session_age_and_context_answer(recommender, table):
    moment = datetime(2019, 3, 1, tzinfo=UTC)
    buckets = age_bucket(table.user_age)
    answers = [
        recommender.recommend_from_log(user.decode(), Context(moment, "mobile"))
        for user in table.user_id
    ]
    assert {answer.earlier_sessions for answer in answers} == {0}
    assert {answer.long_term_attention for answer in answers} == {0.0}
    scores = np.array([scores_of(answer) for answer in answers])
    assert 1 < len(set(buckets.tolist())) < len(buckets)
    for bucket in set(buckets.tolist()):
        alike = scores[buckets == bucket]
        np.testing.assert_allclose(alike, alike[:1].repeat(len(alike), axis=0), atol=1e-6)
    assert len({tuple(row.round(4)) for row in scores}) == len(set(buckets.tolist()))


@pytest.fixture(scope="module")
def knowing(workspace) -> Recommender:
    """Asks who the user is, and where playback starts."""
    model = ModelConfig("rrn", lstm_units=8, dense_units=6, features=FEATURES)
    run = write_run(workspace, "knowing", model=model)
    build_index(run.embeddings, run.embeddings.vectors[:5], run.path / INDEX)
    return Recommender.open(workspace, "knowing")


def test_a_run_may_ask_for_user_and_stream_source(knowing, workspace, table):
    run = open_trained_run(workspace, "knowing")
    data = sequence_data(table, embed_sessions(table, run.embeddings.vectors))
    windows = evaluation_windows(table, first=0, before=None, max_sessions=100)
    expected = Predictor(run.model)(data, windows).embeddings
    gaps = table.seconds_since_last
    sessions = np.flatnonzero((gaps >= SESSION_GAP_SECONDS) & (table.stream_source > 0))[::60]
    for session in sessions:
        user = table.user_id[table.user_of_session[session]].decode()
        start, device = at(table.session_start[session]), DEVICES[table.device[session]]
        source = STREAM_SOURCES[table.stream_source[session]]
        answer = knowing.recommend_from_log(user, Context(start, device, source))
        scores = run.embeddings.vectors[rows_of(answer)] @ expected[session]
        np.testing.assert_allclose(scores_of(answer), scores, atol=1e-5)
        assert answer.long_term_attention is None
        without = knowing.recommend_from_log(user, Context(start, device))
        assert without == knowing.recommend_from_log(user, Context(start, device, "unknown"))
        assert np.abs(scores_of(without) - scores_of(answer)).max() > 1e-4


# What is known of a moment -----------------------------------------------------------------------


PER_SESSION = [feature.name for feature in SESSION_FEATURES if feature.per is not Per.USER]


def first_sessions(table: SessionTable, number: int, **columns: np.ndarray) -> SessionTable:
    """The first sessions of a table of one user, with some columns replaced."""
    kept = {name: getattr(table, name)[:number] for name in PER_SESSION}
    return dataclasses.replace(table, row_splits=np.array([0, number]), **(kept | columns))


@pytest.fixture
def user() -> SessionTable:
    """Four sessions of 3, 5, 2 and 4 listens that last 600, 1 000, 0 and an unknown time."""
    return first_sessions(
        random_table(num_users=2).select_users(np.array([1])),
        4,
        session_start=np.array([0, 10_000, 20_000, 30_000]) + 1_559_350_000,
        num_tracks=np.array([3, 5, 2, 4]),
        seconds_since_last=np.array([0, 9_400, 9_000, 10_000]),
    )


@pytest.mark.parametrize(
    ("seconds", "earlier", "since_last"),
    [
        (-5, 0, 0),
        (0, 0, 0),
        (1, 1, SESSION_GAP_SECONDS),
        (1_800, 1, SESSION_GAP_SECONDS),
        (1_801, 1, 1_201),
        (10_000, 1, 9_400),
        (15_000, 2, 4_000),
        (20_000, 2, 9_000),
        (29_000, 3, 9_000),
        (30_000, 3, 10_000),
        # 1 600 s of 10 listens: the last 4 took an estimated 640 s.
        (40_000, 4, 9_360),
        (30_100, 4, SESSION_GAP_SECONDS),
    ],
)
def test_what_a_session_at_a_moment_rests_on(run, user, seconds, earlier, since_last):
    moment = at(user.session_start[0] + seconds)
    number, starts = begun(run, user, moment)
    assert number == earlier
    assert starts.seconds_since_last.tolist() == [since_last]
    assert (starts.day_of_week[0], starts.hour[0]) == (moment.weekday(), moment.hour)
    assert starts.device.tolist() == [DEVICES.index("speaker")]


def test_the_only_session_is_taken_to_end_when_it_starts(run, user):
    only = first_sessions(user, 1)
    _, starts = begun(run, only, at(user.session_start[0] + 5_000))
    assert starts.seconds_since_last.tolist() == [5_000]


def test_a_fraction_of_a_second_counts_as_the_second_it_is_in(run, user):
    number, _ = begun(run, user, at(user.session_start[1]) + timedelta(milliseconds=999))
    assert number == 1


def begun(run: TrainedRun, user: SessionTable, moment: datetime) -> tuple[int, Starts]:
    """Earlier sessions of one user, and how one at that moment starts."""
    carrier = Carrier(StepModel(run.model))
    columns = ContextReader(run).columns([Context(moment, "speaker")])
    logged = LoggedSessions(user, run.embeddings.vectors, gap_seconds=SESSION_GAP_SECONDS)
    number, records = logged.number_before(int(columns.second[0])), logged.new(carrier)
    logged.carry(carrier, records, np.zeros_like(number), number)
    assert records["sessions"].tolist() == number.tolist()
    return int(number[0]), columns.after(records, gap_seconds=SESSION_GAP_SECONDS)


# What is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"user": "nobody"}, "user 'nobody' is not in"),
        ({"device": "toaster"}, "the device 'toaster' is unknown: choose from unknown, mobile, "),
        ({"k": 0}, "k=0 must be at least 1"),
        ({"k": 182}, "k=182 is more than the 181 tracks that have an embedding"),
        ({"at": datetime(2019, 6, 1)}, "no UTC offset"),
        (
            {"stream_source": "charts"},
            "the stream source 'charts' has no use: run 'small' was trained",
        ),
    ],
)
def test_refuses(recommender, change, says):
    of: dict[str, Any] = {
        "user": "user-1",
        "device": "mobile",
        "at": datetime(2019, 6, 1, tzinfo=UTC),
        "k": 10,
    }
    of |= change
    context = Context(of["at"], of["device"], of.get("stream_source"))
    with pytest.raises(UserError, match=says):
        recommender.recommend_from_log(of["user"], context, of["k"])
    if "user" not in change:
        with pytest.raises(UserError, match=says):
            recommender.recommend(of["user"], context, of["k"])


def test_refuses_an_unknown_stream_source(knowing):
    context = Context(datetime(2019, 6, 1, tzinfo=UTC), "mobile", "radio")
    with pytest.raises(UserError, match="stream source 'radio' is unknown: choose from unknown, u"):
        knowing.recommend_from_log("user-1", context)


def test_a_run_or_an_index_that_does_not_exist_is_refused(workspace):
    with pytest.raises(UserError, match=r"run 'big' does not exist .*small"):
        Recommender.open(workspace, "big")
    write_run(workspace, "without-index")
    with pytest.raises(UserError, match="build_index --run=without-index"):
        Recommender.open(workspace, "without-index")


# The command -------------------------------------------------------------------------------------


def command(*flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cosernn_tf.recommend", *flags],
        capture_output=True,
        text=True,
        check=False,
    )


def test_prints_json_alone_on_standard_output(recommender, workspace):
    done = command(
        f"--workspace={workspace.root}",
        "--run=small",
        "--user=user-2",
        "--device=desktop",
        "--at=2019-06-01T08:00:00+02:00",
        "--k=3",
        "--format=json",
    )
    assert done.returncode == 0, done.stderr
    moment = datetime.fromisoformat("2019-06-01T08:00:00+02:00")
    answer = recommender.recommend_from_log("user-2", Context(moment, "desktop"), k=3)
    printed, expected = json.loads(done.stdout), json.loads(json.dumps(answer.to_dict()))
    for one, other in zip(printed["tracks"], expected["tracks"], strict=True):
        assert one.pop("score") == pytest.approx(other.pop("score"), abs=1e-5)
    attention = printed.pop("long_term_attention"), expected.pop("long_term_attention")
    assert attention[0] == pytest.approx(attention[1], abs=1e-5)
    assert printed == expected
    assert (printed["day_of_week"], printed["hour"]) == ("Saturday", 8)


def test_text_has_a_row_for_each_track(recommender):
    context = Context(datetime(2019, 6, 1, 8, tzinfo=UTC), "mobile")
    answer = recommender.recommend_from_log("user-2", context, k=3)
    lines = answer.to_text().splitlines()
    assert lines[0] == "user-2 on mobile at 2019-06-01T08:00:00+00:00 (Saturday, 08h)"
    assert f"earlier sessions: {answer.earlier_sessions}," in lines[1]
    assert lines[3].split() == ["rank", "track", "score"]
    assert [line.split() for line in lines[4:]] == [
        [str(track.rank), track.track_id, f"{track.score:.3f}"] for track in answer.tracks
    ]
    new_year = Context(datetime(2019, 1, 1, tzinfo=UTC), "mobile")
    cold = recommender.recommend_from_log("user-2", new_year)
    assert "cold start" in cold.to_text()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ([], "--user is missing"),
        (["--user=user-1", "--at=yesterday"], "--at=yesterday is no date and time"),
        (["--user=user-1", "--k=0"], "--k=0"),
        (["--user=user-1", "--run=big"], "run 'big' does not exist"),
        (["--user=user-1", "--run=../runs"], "--run=../runs must be a name"),
    ],
)
def test_bad_flags_are_one_line_and_exit_code_2(workspace, flags, says):
    done = command(f"--workspace={workspace.root}", *flags)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.strip().splitlines()
    assert says in line
