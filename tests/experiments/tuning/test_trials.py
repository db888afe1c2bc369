"""What a trial is worth, and the file of trials."""

import json
import math

import pytest

from cosernn_tf.errors import UserError
from experiments.tuning.trials import (
    History,
    State,
    best_of,
    ranked,
    read_history,
    read_trials,
    write_trials,
)

from .trials import trial_of


def test_a_trial_is_as_good_as_its_best_epoch():
    trial = trial_of(7, [0.1, 0.3, math.nan, 0.3, 0.2])
    assert (trial.name, trial.score, trial.best_epoch) == ("trial-007", 0.3, 2)
    for without in (trial_of(0, []), trial_of(0, [math.nan])):
        assert without.score is without.best_epoch is None


def test_the_best_was_trained_to_its_end_and_came_first():
    trials = [
        trial_of(0, [0.2, 0.4]),
        trial_of(1, [0.9], state=State.PRUNED),
        trial_of(2, [], state=State.FAILED),
        trial_of(3, [0.5, 0.1]),
        trial_of(4, [0.1, 0.5]),
        trial_of(5, [0.95], state=State.FAILED),
    ]
    best = best_of(trials)
    assert best is not None
    assert best.number == 3
    assert [trial.number for trial in ranked(trials)] == [3, 4, 0, 5, 1, 2]
    assert best_of(trials[1:3]) is None


def test_a_trial_of_a_history(tmp_path):
    epochs = [
        {"validation_score": score, "seconds": seconds, "sessions_per_second": rate, "epoch": 1}
        for score, seconds, rate in ((0.1, 8.0, 10.0), (0.3, 2.0, 90.0), (0.2, 4.0, 70.0))
    ]
    assert read_history(tmp_path) == History()
    (tmp_path / "history.json").write_text(json.dumps(epochs))
    history = read_history(tmp_path)
    trial = history.trial(1, {"batch_size": 2}, State.FINISHED)
    assert (trial.scores, trial.seconds, trial.sessions_per_second) == ((0.1, 0.3, 0.2), 14, 70)
    cut = history.until(2).trial(1, {}, State.PRUNED)
    assert (cut.scores, cut.seconds, cut.sessions_per_second) == ((0.1, 0.3), 10, 50)
    assert History().trial(1, {}, State.FAILED, error="why").sessions_per_second is None


def test_the_file_of_trials(tmp_path):
    path = tmp_path / "trials.json"
    assert read_trials(path) == []
    trials = [
        trial_of(0, [0.1, 1 / 3], flags={"lstm_units": 4, "learning_rate": 1e-05}),
        trial_of(1, [], state=State.FAILED, error="a reason"),
    ]
    write_trials(path, trials)
    assert read_trials(path) == trials
    assert list(read_trials(path)[0].flags) == ["lstm_units", "learning_rate"]
    path.write_text('[{"number": 0}]')
    with pytest.raises(UserError, match=r"trials\.json is damaged"):
        read_trials(path)
