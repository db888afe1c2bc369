"""What the table and `metrics.json` say with users as clusters, to the letter."""

import json

import numpy as np
import pyarrow as pa
import pytest

from cosernn_tf.evaluation import report
from cosernn_tf.evaluation.clusters import Bootstrap
from cosernn_tf.evaluation.metrics import METRICS
from cosernn_tf.evaluation.summary import Summary, summarize

from .tables import TABLE_2_SCHEMA

NAMES = [metric.name for metric in METRICS]


def clustered_scores() -> pa.Table:
    """30 users of five sessions, 9 of the last metrics' and 3 of the very last's.

    "popularity" differs from cosernn for all users, "last_any" for a tenth of them, so much that it
    does over sessions.
    """
    rng = np.random.default_rng(0)
    base = rng.random((len(NAMES), 150))
    few = np.zeros((len(NAMES), 30), bool)
    few[-2, 9:] = few[-1, 3:] = True
    of_users = np.where(np.arange(30) < 3, 0.3, 0.0)
    tables = []
    for model, users in (("cosernn", 0.0), ("last_any", of_users), ("popularity", 0.3)):
        values = base + np.repeat(np.broadcast_to(users, 30), 5) + 0.05 * rng.random(base.shape)
        absent = np.repeat(few, 5, axis=1)
        columns = {name: pa.array(values[row], mask=absent[row]) for row, name in enumerate(NAMES)}
        keys = {
            "model": [model] * 150,
            "user_id": [f"u{row // 5}" for row in range(150)],
            "session_start": list(range(150)),
            "day_of_week": [0] * 150,
            "hour": [0] * 150,
            "device": ["mobile"] * 150,
        }
        tables.append(pa.table({**keys, **columns}, TABLE_2_SCHEMA))
    return pa.concat_tables(tables)


@pytest.fixture(scope="module")
def clustered() -> Summary:
    return summarize(clustered_scores(), references=["cosernn"], bootstrap=Bootstrap(999))


CLUSTERED_TABLE = """\
Last, any cxt    0.5926*?  0.5986*?   0.5729*?  0.5575*?   0.5487*?  0.5657*?  0.5318*?  0.6622*?  0.7918*?
Popularity      >0.8629*  >0.8681*    0.8450*  >0.8285*    0.8189*  >0.8335*  >0.8063*  >0.8611*  >0.7919*?
-----------------------------------------------------------------------------------------------------------
cosernn          0.5649    0.5672    >0.5437    0.5241    >0.5163    0.5334    0.5060    0.5625    0.4892
-----------------------------------------------------------------------------------------------------------
> best of its column, oracles aside.
* p < 0.001, + p < 0.05: differs from cosernn (paired two-tailed t-test over sessions).
? behind it: not so (p >= 0.05) with users as clusters and Holm's correction for 16 tests.
Fewer than 5 users, too few for clusters: Rec@10, K = 100.
"""  # noqa: E501


def test_what_does_not_hold_with_users_as_clusters_is_marked(clustered):
    text = report.format_table(clustered)
    assert CLUSTERED_TABLE in text
    assert len(text.splitlines()[2]) == len(CLUSTERED_TABLE.splitlines()[0]) - 2


def test_resamples_too_few_to_confirm_anything():
    def table(resamples: int) -> str:
        bootstrap = Bootstrap(resamples)
        return report.format_table(
            summarize(clustered_scores(), references=["cosernn"], bootstrap=bootstrap)
        )

    # 16 tests, and the least p-value is 1 / (resamples + 1).
    assert (
        "\n319 resamples are too few to confirm any of these: --bootstrap_resamples=320 is the "
        "least.\n"
    ) in table(319)
    assert "too few to confirm" not in table(320)
    assert table(319).count("*?") == 18
    assert table(320).count("*?") == 10


def test_json_has_intervals_and_both_tests(clustered):
    content = report.metrics_json(clustered)
    json.dumps(content, allow_nan=False)
    assert content["bootstrap"] == {"cluster": "user", "resamples": 999, "seed": 1, "level": 0.95}
    assert content["scored"]["ap_100"] == {
        "sessions": 45,
        "share": 0.3,
        "users": 9,
        "users_share": 0.3,
    }
    for model in clustered.models:
        of_json = content["models"][model.name]
        assert of_json["intervals"]["recall10_100"] is None
        low, high = of_json["intervals"]["cosine"]
        assert low < of_json["metrics"]["cosine"] < high
    test = clustered.tests["cosernn", "last_any"]["cosine"]
    assert test.clustered is not None
    assert content["tests"]["cosernn"]["last_any"]["cosine"] == {
        "sessions": 150,
        "users": 30,
        "mean_difference": test.paired.mean_difference,
        "relative_percent": 100 * test.relative,
        "cohens_d": test.paired.effect_size,
        "interval": list(test.clustered.interval),
        "t_test": {
            "t": test.paired.statistic,
            "p_value": test.paired.p_value,
            "p_holm": test.paired_holm,
        },
        "clustered": {
            "t": test.clustered.statistic,
            "p_value": test.clustered.p_value,
            "p_holm": test.clustered.p_holm,
            "standard_error": test.clustered.standard_error,
            "design_effect": test.clustered.design_effect,
        },
    }
    # Five sessions a user, all of whose difference is the user's: nearly five times the variance.
    assert 4.5 < test.clustered.design_effect < 5.2
    few = content["tests"]["cosernn"]["popularity"]["recall10_100"]
    assert (few["interval"], few["clustered"]["p_value"], few["clustered"]["p_holm"]) == (None,) * 3
    assert few["t_test"]["p_value"] < 0.001
