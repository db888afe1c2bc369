"""Configurations: what is out of range, and what goes through files."""

import json
import re

import pytest

from cosernn_tf.config import (
    MODEL_NAMES,
    RESERVED_RUN_NAMES,
    EmbeddingConfig,
    ModelConfig,
    TrainConfig,
    canonical_json,
    check_run_name,
)
from cosernn_tf.errors import UserError
from cosernn_tf.evaluation.heuristics import HEURISTICS, ORACLES

OTHER = TrainConfig(
    model=ModelConfig(
        name="encore",
        lstm_units=7,
        dense_units=8,
        features=("last_session", "gap", "current_stream_source"),
        pathways=("skipped", "all"),
        dropout=0.25,
    ),
    learning_rate=0.25,
    batch_size=3,
    max_sessions=9,
    max_epochs=4,
    patience=2,
    clip_norm=1.5,
    loss="ranking",
    session_weight=0.5,
    track_weight=0.0,
    best_by="cosine",
    seed=11,
    precision="mixed_bfloat16",
)


@pytest.mark.parametrize(
    ("make", "fields"),
    [
        (ModelConfig, {"name": "gru4rec"}),
        (ModelConfig, {"lstm_units": 0}),
        (ModelConfig, {"dense_units": -1}),
        (TrainConfig, {"learning_rate": 0.0}),
        (TrainConfig, {"learning_rate": float("nan")}),
        (TrainConfig, {"learning_rate": float("inf")}),
        (TrainConfig, {"clip_norm": -0.5}),
        (TrainConfig, {"clip_norm": float("nan")}),
        (TrainConfig, {"loss": "hinge"}),
        (TrainConfig, {"best_by": "loss"}),
        (TrainConfig, {"session_weight": -0.5}),
        (TrainConfig, {"track_weight": float("inf")}),
        (ModelConfig, {"dropout": 0.5}),
        (ModelConfig, {"dropout": 1.0}),
        (TrainConfig, {"max_sessions": 1}),
        (TrainConfig, {"batch_size": 0}),
        (TrainConfig, {"max_epochs": 0}),
        (TrainConfig, {"patience": 0}),
        (TrainConfig, {"seed": -1}),
        (TrainConfig, {"seed": 2**32}),
        *(
            (EmbeddingConfig, {name: 0})
            for name in ("epochs", "window", "min_count", "negative", "workers")
        ),
        (EmbeddingConfig, {"seed": -1}),
        (EmbeddingConfig, {"learning_rate": 0.0}),
        (EmbeddingConfig, {"learning_rate": 1.5}),
    ],
)
def test_a_value_out_of_range_is_named_as_its_flag(make, fields):
    ((name, value),) = fields.items()
    flag = "model" if name == "name" else name
    with pytest.raises(UserError, match=rf"^--{flag}={value} ".replace("+", r"\+")):
        make(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"features": ()}, "--features= must name at least one of last_session, context, num_trac"),
        ({"features": ("context", "mood")}, "--features=context,mood has 'mood', which is none of"),
        ({"features": ("played",)}, "--features=played has 'played', which is none of last_sessi"),
        ({"pathways": ("heard",)}, "--pathways=heard has 'heard', which is none of played, skipp"),
        (
            {"name": "jodie", "features": ("context", "last_session")},
            "--features=last_session,context lacks gap, without which --model=jodie is none",
        ),
        (
            {"name": "latent_cross", "features": ("gap",)},
            "--features=gap lacks context, without which --model=latent_cross is none",
        ),
    ],
)
def test_a_choice_that_cannot_be_is_refused(fields, message):
    with pytest.raises(UserError, match=f"^{re.escape(message)}"):
        ModelConfig(**fields)


def test_choices_have_one_order_and_the_defaults_of_the_papers():
    assert ModelConfig(features=("gap", "context", "gap")).features == ("context", "gap")
    assert ModelConfig(pathways=("all", "played")) == ModelConfig(pathways=("played", "all"))
    assert ModelConfig().features == (
        "last_session", "context", "num_tracks", "gap", "stream_source"
    )  # fmt: skip
    assert {name: ModelConfig(name).pathways for name in MODEL_NAMES} == {
        "cosernn": ("played", "skipped"),
        "jodie": ("played", "skipped", "all"),
        "rrn": ("played", "skipped", "all"),
        "latent_cross": ("played", "skipped", "all"),
        "encore": ("played", "skipped"),
    }
    assert {name: TrainConfig(ModelConfig(name)).loss for name in MODEL_NAMES} == {
        **dict.fromkeys(MODEL_NAMES, "cosine"),
        "encore": "ranking",
    }
    assert [TrainConfig(loss=loss).best_by for loss in ("cosine", "ranking")] == [
        "cosine", "ranking"
    ]  # fmt: skip


def test_a_configuration_comes_back_from_its_file():
    assert TrainConfig.from_dict(OTHER.to_dict()) == OTHER
    assert TrainConfig.from_dict(json.loads(canonical_json(OTHER.to_dict()))) == OTHER
    assert canonical_json(OTHER.to_dict()) != canonical_json(TrainConfig().to_dict())


def test_flags_have_every_value():
    assert OTHER.to_flags().splitlines() == [
        "--model=encore",
        "--lstm_units=7",
        "--dense_units=8",
        "--features=last_session,gap,current_stream_source",
        "--pathways=skipped,all",
        "--dropout=0.25",
        "--learning_rate=0.25",
        "--batch_size=3",
        "--max_sessions=9",
        "--max_epochs=4",
        "--patience=2",
        "--clip_norm=1.5",
        "--loss=ranking",
        "--session_weight=0.5",
        "--track_weight=0.0",
        "--best_by=cosine",
        "--seed=11",
        "--precision=mixed_bfloat16",
    ]


def test_the_defaults_are_the_papers():
    """§5.2.2."""
    config = TrainConfig()
    assert (config.model.lstm_units, config.model.dense_units) == (400, 200)
    assert (config.learning_rate, config.batch_size) == (0.0005, 256)


@pytest.mark.parametrize("name", ["cosernn", "a.b", "seed-1_x"])
def test_a_run_name(name):
    assert check_run_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "/tmp", "a,b", "-x"])
def test_what_is_no_run_name(name):
    with pytest.raises(UserError, match="--run="):
        check_run_name(name)


def test_runs_may_not_bear_the_names_of_heuristics_and_oracles():
    assert set(HEURISTICS) | set(ORACLES) == RESERVED_RUN_NAMES
    with pytest.raises(UserError, match="heuristic or oracle"):
        check_run_name("oracle_half")
