"""Which runners are refused and why; what they do is tested in tests/runners."""

import pickle
import re
import socket
import subprocess
import sys
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PortableOptions, StandardOptions

from beam_pipelines import runners
from beam_pipelines.config import SessionizeConfig
from cosernn_tf.errors import UserError

ENDPOINT = "--job_endpoint=127.0.0.1:8099"


@pytest.mark.parametrize(
    ("runner", "arguments", "text"),
    [
        ("PortableRunner", [], "PortableRunner needs --job_endpoint"),
        ("FlinkRunner", [], "needs --flink_job_server_jar"),
        ("FlinkRunner", ["--flink_job_server_jar=no.jar"], "no.jar does not exist"),
        ("sparkrunner", ["--parallelism=2"], "needs --spark_job_server_jar"),
        (
            "PrismRunner",
            [],
            f"go install github.com/apache/beam/sdks/v2/go/cmd/prism@v{beam.__version__}",
        ),
        ("PrismRunner", ["--prism_location=https://host/prism.zip"], "downloads nothing"),
        ("apache_beam.runners.portability.prism_runner.PrismRunner", [], "--prism_location"),
        ("FlinkRunner", ["--job_endpoint=embed", "--parallelism=2", "x"], "unknown flag x"),
        ("FlinkRunner", [ENDPOINT, "--parallelism=two"], "bad pipeline option"),
    ],
)
def test_what_cannot_run_is_refused_and_nothing_is_downloaded(runner, arguments, text):
    with pytest.raises(UserError, match=re.escape(text)):
        runners.pipeline_options(runner, arguments, max_memory_mb=1024)


@pytest.mark.parametrize("runner", ["FlinkRunner", "PortableRunner", "SparkRunner", "PrismRunner"])
def test_the_options_of_a_cluster_are_taken_as_they_are(runner):
    arguments = [
        ENDPOINT,
        "--flink_master=127.0.0.1:8081",
        "--environment_type=EXTERNAL",
        "--environment_config=127.0.0.1:50000",
        "--parallelism=4",
        "--sdk_worker_parallelism=2",
    ]
    options = runners.pipeline_options(runner, arguments, max_memory_mb=1024)
    assert options.view_as(StandardOptions).runner == runner
    assert options.view_as(PortableOptions).job_endpoint == "127.0.0.1:8099"
    assert options.view_as(PortableOptions).environment_type == "EXTERNAL"
    assert options.get_all_options()["flink_master"] == "127.0.0.1:8081"
    assert not any("direct" in name for name in options.get_all_options(drop_default=True))


def test_views_of_options_share_what_they_hold_also_elsewhere():
    options = runners.pipeline_options("DirectRunner", [], max_memory_mb=1024)
    options.view_as(StandardOptions).streaming = True
    for found in (options, pickle.loads(pickle.dumps(options))):
        assert found.view_as(StandardOptions) is found.view_as(StandardOptions)
        assert found.view_as(PortableOptions).view_as(StandardOptions).streaming is True
        found.view_as(StandardOptions).streaming = False
        assert found.view_as(PortableOptions).get_all_options()["streaming"] is False
        assert found.view_as(StandardOptions).runner == "FnApiRunner"


def test_a_job_server_that_does_not_answer_is_an_error_of_one_line(tmp_path):
    with socket.socket() as taken:  # Nobody listens here, nor can.
        taken.bind(("127.0.0.1", 0))
        arguments = [f"--job_endpoint=127.0.0.1:{taken.getsockname()[1]}", "--job_server_timeout=1"]
        options = runners.pipeline_options("PortableRunner", arguments, max_memory_mb=1024)
        pipeline = runners.new_pipeline(options, temporary=str(tmp_path))
        _ = pipeline | beam.Create([1])
        with pytest.raises(UserError, match="its job server does not answer"):
            runners.run(pipeline, "PortableRunner")


SLOW_TO_WRITE = """
import resource, sys, time
import apache_beam as beam
from beam_pipelines import runners
from beam_pipelines.config import SessionizeConfig

class Slow:
    def __init__(self, number, seconds=0):
        self.number, self.seconds = number, seconds

    def __reduce__(self):
        time.sleep(self.seconds)
        return Slow, (self.number,)

# What is left of a broken stream can be read as an element of any size.
resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30, 4 * 2**30))
arguments = ["--direct_running_mode=multi_threading", "--direct_num_workers=2"]
options = runners.pipeline_options("DirectRunner", arguments, max_memory_mb=1024)
pipeline = runners.new_pipeline(options, temporary=sys.argv[1])
_ = (
    pipeline
    | beam.Create(range(100))
    | "Spread" >> beam.Reshuffle()
    | "Key" >> beam.Map(lambda number: (number % 7, Slow(number, 0.03)))
    | "Group" >> beam.GroupByKey()
    | "Numbers" >> beam.FlatMap(lambda group: [element.number for element in group[1]])
    | "Gather" >> beam.combiners.ToList()
    | "Print" >> beam.Map(lambda numbers: print(sorted(numbers)))
)
runners.run(pipeline, "DirectRunner")
"""


def test_elements_arrive_whole_however_long_they_take_to_write(tmp_path):
    """Where buffers are sent by the clock it fails: each worker writes for 1.5 seconds."""
    done = subprocess.run(
        [sys.executable, "-c", SLOW_TO_WRITE, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == f"{list(range(100))}\n", done.stderr[-2000:]


@pytest.mark.parametrize(
    ("flag", "options"),
    [
        ("listens", {"listens": ("a.csv", "gs://bucket/*.parquet")}),
        ("users", {"users": "hdfs://host/users.csv"}),
        ("output", {"output": Path("s3://bucket/sessions")}),
    ],
)
def test_object_stores_are_refused_with_what_to_do(flag, options):
    with pytest.raises(UserError, match=f"--{flag}=.* is a URL, and a path is needed: mount"):
        SessionizeConfig(**{"listens": ("a.csv",), **options})


def test_unusual_paths_are_no_urls():
    SessionizeConfig(listens=("./a:/b", "C:/log", "gs:x", "/mnt/gs://b"), output=Path("x/s3:/y"))
