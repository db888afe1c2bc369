"""Rows of scores against a loop over sessions, and what must not matter to them."""

import dataclasses
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cosernn_tf.evaluation import heuristics
from cosernn_tf.evaluation.candidates import Relevance
from cosernn_tf.evaluation.metrics import METRICS
from cosernn_tf.evaluation.scores import SCORE_COLUMNS, score_schema, score_sessions
from cosernn_tf.features import normalize
from cosernn_tf.schema import DEVICES

from .tables import DIM, Data, change_future, only_user, random_data, sessions_of
from .test_candidates import contained, recent_tracks
from .test_heuristics import earlier_sessions
from .test_metrics import (
    average_precision_oracle,
    chance_precision_oracle,
    rank_oracle,
    ranking_oracle,
    recall_oracle,
)

TRAINING_END = 1_554_076_800 + 500_000
MODELS = ("last_any", "avg_same", "random", "zero", "oracle_full")


@pytest.fixture(scope="module")
def data() -> Data:
    return random_data()


def predictions_of(data: Data) -> dict[str, np.ndarray]:
    """Of each session from its user and start alone, beside those of heuristics and oracles."""
    table = data.table
    random = np.stack(
        [np.sin(start * np.arange(1.0, DIM + 1)) for start in table.session_start]
        or [np.zeros(DIM)]
    )[: table.num_sessions]
    every = {
        **heuristics.predict_heuristics(table, data.embeddings, data.train_listens),
        **heuristics.predict_oracles(table, data.embeddings, data.track_embeddings),
        "random": 3 * random.astype(np.float32),
        "zero": np.zeros((table.num_sessions, DIM), np.float32),
    }
    return {model: every[model] for model in MODELS}


def in_split(data: Data) -> np.ndarray:
    return data.table.position % 4 != 1


def score(data: Data, **options) -> pa.Table:
    options = {
        "sessions_mask": in_split(data),
        "predictions": predictions_of(data),
        "training_end": TRAINING_END,
        **options,
    }
    return score_sessions(data.table, data.embeddings, data.track_embeddings, **options)


def row_oracle(
    data: Data, session: int, prediction: np.ndarray, relevance: Relevance
) -> dict[str, float | None]:
    """The scores of one session, one candidate at a time."""
    played = data.embeddings.played
    unit = normalize(prediction[None])[0]
    row: dict[str, float | None] = {"cosine": float(unit @ played[session])}
    earlier = [s for s in earlier_sessions(data.table, session) if played[s].any()]
    for k in (20, 50):
        ranked = [session, *earlier[::-1]][:k]
        rank = None
        if len(ranked) == k:
            rank = rank_oracle(np.array([np.vecdot(played[s], unit) for s in ranked]))
        row[f"session_rr_{k}"] = rank and 1 / rank
        row[f"session_rank_{k}"] = rank
    current = contained(data, session, relevance)
    for k in (25, 100):
        tracks = recent_tracks(data, session, k)
        relevant = np.array([track in current for track in tracks])
        precision = recall = None
        if len(tracks) == k and relevant.any():
            scores = np.array([np.vecdot(data.track_embeddings[t], unit) for t in tracks])
            ranking = ranking_oracle(scores, relevant)
            precision, recall = average_precision_oracle(ranking), recall_oracle(ranking, 10)
            if not unit.any():
                precision, recall = chance_precision_oracle(relevant), 10 / k
        row[f"ap_{k}"], row[f"recall10_{k}"] = precision, recall
    return row


@pytest.mark.parametrize("relevance", list(Relevance))
def test_scores_equal_the_loop(data, relevance):
    predictions = predictions_of(data)
    attention = np.random.default_rng(3).random(data.table.num_sessions)
    rows = score(data, relevance=relevance, attention={"random": attention}).to_pylist()
    assert 1 < len({row["train_sessions"] for row in rows} - {0}) < 7
    targets = np.flatnonzero(in_split(data) & data.embeddings.has_played)
    assert len(rows) == len(MODELS) * len(targets)
    scored = dict.fromkeys([column.name for column in SCORE_COLUMNS], 0)
    for index, row in enumerate(rows):
        model, session = MODELS[index // len(targets)], int(targets[index % len(targets)])
        user = int(data.table.user_of_session[session])
        assert row["model"] == model
        assert row["user_id"] == f"usér {user}"
        assert row["session_start"] == data.table.session_start[session]
        assert row["day_of_week"] == data.table.day_of_week[session]
        assert row["hour"] == data.table.hour[session]
        assert row["device"] == DEVICES[data.table.device[session]]
        age = int(data.table.user_age[user])
        assert row["user_age"] == (None if age == -1 else age)
        starts = data.table.session_start[sessions_of(data, user)].tolist()
        assert row["train_sessions"] == sum(start < TRAINING_END for start in starts)
        assert row["earlier_sessions"] == starts.index(row["session_start"])
        offset = attention[session] if model == "random" else None
        assert row["attention_offset"] == offset
        for name, expected in row_oracle(
            data, session, predictions[model][session], relevance
        ).items():
            assert row[name] == pytest.approx(expected, abs=1e-6), (model, session, name)
            scored[name] += row[name] is not None
    # Some of each is scored, and not all.
    names = [metric.name for metric in METRICS if metric.k]
    assert all(0 < scored[name] < len(rows) for name in names)


def test_columns_and_nulls(data):
    scores = score(data)
    assert scores.schema.equals(score_schema())
    assert scores["attention_offset"].null_count == scores.num_rows
    assert scores.column_names == [
        *("model", "user_id", "session_start", "day_of_week", "hour", "device", "cosine"),
        *("session_rr_20", "session_rank_20", "session_rr_50", "session_rank_50"),
        *("ap_25", "recall10_25", "ap_100", "recall10_100"),
        *("user_age", "train_sessions", "earlier_sessions", "attention_offset"),
    ]
    for name in scores.column_names:
        values = scores[name].combine_chunks()
        assert (values.null_count == 0) == (not scores.schema.field(name).nullable)
        if pa.types.is_floating(values.type):
            assert not any(math.isnan(v) for v in values.drop_null().to_pylist())


def test_no_information_is_the_middle_rank_and_oracle_full_the_first(data):
    scores = score(data)

    def ranks(model: str, k: int) -> np.ndarray:
        of_model = scores.filter(pa.compute.equal(scores["model"], model))
        return of_model[f"session_rank_{k}"].drop_null().to_numpy()

    for k in (20, 50):
        assert (ranks("zero", k) == (k + 1) / 2).all()
        # Sessions that came before tie with the current one; nothing is above it.
        full = ranks("oracle_full", k)
        assert full.min() == 1
        assert 1 < full.mean() < 1.6
        assert full.mean() < ranks("last_any", k).mean()


def test_the_length_of_a_prediction_does_not_matter(data):
    unit = predictions_of(data)["last_any"]
    lengths = {"short": 1e-30 * unit, "unit": unit, "double": 2.0 * unit.astype(np.float64)}
    scores = score(data, predictions={**lengths, "long": np.float32(1e30) * unit})
    rows = scores.num_rows // 4
    for metric in METRICS:
        values = scores[metric.name].to_numpy().reshape(4, rows)
        for other in values:
            np.testing.assert_allclose(other, values[1], atol=1e-6)


@pytest.mark.parametrize("gathered_elements", [1, 1000, 2**24])
def test_the_memory_bound_does_not_matter(data, gathered_elements):
    assert score(data, gathered_elements=gathered_elements).equals(score(data))


def test_other_models_do_not_matter(data):
    together = score(data)
    parts = [
        score(data, predictions={model: vectors}) for model, vectors in predictions_of(data).items()
    ]
    assert together.equals(pa.concat_tables(parts))


def test_other_users_do_not_matter(data):
    together = score(data)
    for user in range(data.table.num_users):
        of_user = pa.compute.equal(together["user_id"], f"usér {user}")
        alone = only_user(data, user)
        assert sessions_of(data, user).stop - sessions_of(data, user).start == len(in_split(alone))
        assert score(alone).equals(together.filter(of_user))


@pytest.mark.parametrize("last_kept", [30, 60, 110])
def test_the_future_does_not_matter(data, last_kept):
    mask = data.table.position < last_kept
    before = score(data, sessions_mask=mask)
    after = score(change_future(data, last_kept), sessions_mask=mask)
    assert before.num_rows > 0
    assert before.equals(after)


def test_saved_predictions_redo_the_cosine_and_survive_parquet(data, tmp_path):
    scores = score(data, save_predictions=True)
    assert scores.schema.equals(score_schema(with_predictions=True))
    pq.write_table(scores, tmp_path / "scores.parquet")
    read = pq.read_table(tmp_path / "scores.parquet")
    assert read.drop_columns("prediction").equals(score(data))
    targets = np.flatnonzero(in_split(data) & data.embeddings.has_played)
    for index, model in enumerate(MODELS):
        saved = read["prediction"].to_pylist()[index * len(targets) : (index + 1) * len(targets)]
        np.testing.assert_array_equal(
            np.array(saved, np.float32), predictions_of(data)[model][targets]
        )


def test_nothing_to_score(data):
    scores = score(data, sessions_mask=np.zeros(data.table.num_sessions, bool))
    assert scores.num_rows == 0
    assert scores.schema.equals(score_schema())
    none = score(data.with_table(data.table.select_users(np.zeros(0, np.int64))))
    assert none.equals(scores)
    assert score(data, predictions={}).equals(scores)


def test_predictions_of_another_shape(data):
    with pytest.raises(ValueError, match=rf"'short' have shape \(3, {DIM}\), expected"):
        score(data, predictions={"short": np.zeros((3, DIM), np.float32)})


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_predictions_that_are_not_finite(data, value):
    vectors = np.ones((data.table.num_sessions, DIM), np.float32)
    scored = in_split(data) & data.embeddings.has_played
    vectors[~scored] = value
    score(data, predictions={"model": vectors})
    vectors[np.flatnonzero(scored)[1:3], 2] = value
    with pytest.raises(ValueError, match="'model' are not finite for 2 of"):
        score(data, predictions={"model": vectors})


def strangers(count: int, *, dim: int = 5) -> Data:
    """A user whose sessions have a track each that no other has: nothing is repeated."""
    data = random_data(8, lengths=(count,))
    rng = np.random.default_rng(8)
    track = np.full(data.table.track.shape, -1)
    track[:, 0] = rng.permutation(count)
    table = dataclasses.replace(data.table, track=track, skipped=np.minimum(track, 0))
    vectors = normalize(rng.normal(size=(count, dim)).astype(np.float32))
    return Data(table, vectors, np.ones(count, np.int64))


def test_a_random_predictor_has_the_closed_form():
    """MRR of H_K / K and a mean rank of (K + 1) / 2."""
    count = 6_000
    data = strangers(count)
    vectors = np.random.default_rng(4).normal(size=(count, 5)).astype(np.float32)
    scores = score_sessions(
        data.table,
        data.embeddings,
        data.track_embeddings,
        sessions_mask=np.ones(count, bool),
        predictions={"random": vectors},
        training_end=0,
    )
    for k in (20, 50):
        ranks = scores[f"session_rank_{k}"].drop_null().to_numpy()
        assert len(ranks) == count - k + 1
        spread = np.sqrt((k**2 - 1) / 12 / len(ranks))
        assert ranks.mean() == pytest.approx((k + 1) / 2, abs=4 * spread)
        inverse = 1 / np.arange(1.0, k + 1)
        spread = inverse.std() / np.sqrt(len(ranks))
        mrr = scores[f"session_rr_{k}"].drop_null().to_numpy().mean()
        assert mrr == pytest.approx(inverse.mean(), abs=4 * spread)
        # Ranks are uniform, not only their mean.
        assert np.bincount(ranks.astype(int), minlength=k + 1)[1:].min() > 0.5 * len(ranks) / k


def test_oracle_full_is_first_where_the_vector_is_unique(data):
    for of in (data, strangers(300)):
        played = of.embeddings.played
        (targets,) = np.nonzero(of.embeddings.has_played)
        scores = score_sessions(
            of.table,
            of.embeddings,
            of.track_embeddings,
            sessions_mask=np.ones(of.table.num_sessions, bool),
            predictions={"oracle_full": played},
            training_end=0,
        ).to_pylist()
        unique = repeated = 0
        for session, row in zip(targets.tolist(), scores, strict=True):
            assert row["cosine"] == pytest.approx(1, abs=1e-6)
            earlier = [s for s in earlier_sessions(of.table, session) if played[s].any()]
            for k in (20, 50):
                if row[f"session_rr_{k}"] is not None:
                    others = played[earlier[::-1][: k - 1]]
                    equal = int((np.abs(others - played[session]).max(axis=1) < 1e-6).sum())
                    assert row[f"session_rank_{k}"] == 1 + equal / 2
                    unique, repeated = unique + (not equal), repeated + bool(equal)
        assert unique > 50
    assert repeated == 0
