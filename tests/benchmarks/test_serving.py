"""The benchmark of the endpoint on a tiny workspace, where wrk is installed."""

import json
import shutil

import pytest

from benchmarks.serving_runner import Mode, ServingBenchmarkConfig, benchmark
from cosernn_tf.errors import UserError


def test_load_is_what_wrk_has_measured(tmp_path):
    if shutil.which("wrk") is None:
        pytest.skip("there is no wrk on the path (Debian's package has that name)")
    text = benchmark(
        ServingBenchmarkConfig(
            tmp_path,
            num_users=40,
            num_tracks=500,
            sessions_per_user=3,
            lstm_units=4,
            connections=(1, 3),
            seconds=1,
        )
    )
    kept = json.loads((tmp_path / "serving-load.json").read_text())
    assert kept["exit_code"] == 0
    assert [found["connections"] for found in kept["results"]] == [1, 3]
    for found in kept["results"]:
        assert found["not_200"] == found["socket_errors"] == 0
        assert found["requests"] > 10
        assert found["p50_ms"] <= found["p90_ms"] <= found["p99_ms"] <= found["max_ms"]
        assert f"{found['per_second']:.0f} | {found['p50_ms']:.1f} ms" in text
    assert {"cpu", "commit", "load"} <= set(kept["machine"])


@pytest.mark.parametrize("options", [{"connections": ()}, {"connections": (0,)}, {"kills": 0}])
def test_what_cannot_be_measured_is_refused(tmp_path, options):
    with pytest.raises(UserError):
        ServingBenchmarkConfig(tmp_path, mode=Mode.KILL, **options)


def test_the_recommender_by_itself(tmp_path):
    text = benchmark(
        ServingBenchmarkConfig(
            tmp_path,
            mode=Mode.INPROCESS,
            num_users=100,
            num_tracks=500,
            sessions_per_user=3,
            lstm_units=4,
            calls=20,
        )
    )
    result = json.loads((tmp_path / "serving-inprocess.json").read_text())["result"]
    assert len(result["calls"]) == 11
    for name, found in result["calls"].items():
        assert found["calls"] == (2 if "64" in name else 20)
        assert found["p50_ms"] <= found["p90_ms"] <= found["p99_ms"] <= found["max_ms"]
        assert f"| {name} | {found['p50_ms']:.2f} ms |" in text
    assert result["all_users"]["users"] == 100
    # Two pathways of an LSTM: h and c, of four cells each, before the open session and after it.
    assert result["bytes_per_user"]["records"] > 2 * 4 * (2 * 2 * 4 + 3 * 40 + 2 * 40)
    assert f"{result['bytes_per_user']['records']:,} bytes of records" in text
