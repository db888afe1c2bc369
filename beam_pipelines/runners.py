"""Which Beam runner does the work: its options, and its way of telling that it failed."""

import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import apache_beam as beam
import grpc
from absl import logging
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc
from apache_beam.runners.portability.fn_api_runner import worker_handlers
from apache_beam.runners.runner import create_runner

from beam_pipelines.memory import plan_threads
from cosernn_tf.errors import UserError

DIRECT_RUNNER: Final = "DirectRunner"
_IN_PROCESS_RUNNER: Final = "FnApiRunner"
"""What Beam's DirectRunner comes to, but for its attempt to download another one first."""

_ANSWER_SECONDS: Final = 30

_PRISM: Final = "github.com/apache/beam/sdks/v2/go/cmd/prism"
_DOWNLOADED: Final = {
    "prismrunner": (
        "prism_location",
        f"a Prism binary, as `go install {_PRISM}@v{beam.__version__}` builds it",
    ),
    "flinkrunner": ("flink_job_server_jar", "the jar of Beam's job server for Flink"),
    "sparkrunner": ("spark_job_server_jar", "the jar of Beam's job server for Spark"),
    "portablerunner": (None, ""),
}
"""By runner: the option that names what Beam would download without it, and what that is."""


def is_direct(runner: str) -> bool:
    """Whether the work is done in this process."""
    return runner.lower() in (DIRECT_RUNNER.lower(), _IN_PROCESS_RUNNER.lower())


def processors() -> int:
    return os.cpu_count() or 1


class _Options(PipelineOptions):
    """Whose views are made once: all of them share what they hold.

    Beam takes several for every step, hundreds in all, and would parse the arguments for each.
    """

    def view_as(self, cls: type[PipelineOptions]) -> Any:
        views = self.__dict__.setdefault("_views", {})
        if cls not in views:
            views[cls] = super().view_as(cls)
        return views[cls]


def pipeline_options(
    runner: str, arguments: Sequence[str], *, max_memory_mb: int
) -> PipelineOptions:
    """Raises `UserError` for arguments that no part of Beam knows, and for too little memory."""
    workers = plan_threads(max_memory_mb, processors=processors())
    name = _IN_PROCESS_RUNNER if is_direct(runner) else runner
    try:
        create_runner(name)
    except (ValueError, ImportError, AttributeError) as error:
        raise UserError(f"--runner={runner} cannot be used: {error}") from error
    known = _known(arguments)
    _require_no_download(runner, known)
    threads = []
    if is_direct(runner) and not any("direct_" in argument for argument in arguments):
        # NumPy and Arrow work side by side in one process; more processes would each import them.
        threads = ["--direct_running_mode=multi_threading", f"--direct_num_workers={workers}"]
    return _Options([*arguments, *threads, f"--runner={name}"])


def _known(arguments: Sequence[str]) -> dict[str, Any]:
    """The values of Beam's options. Raises `UserError` for what nobody knows."""
    from apache_beam.options.pipeline_options import _BeamArgumentParser

    parser = _BeamArgumentParser(allow_abbrev=False)
    for options in PipelineOptions.__subclasses__():
        options._add_argparse_args(parser)
    try:
        known, unknown = parser.parse_known_args(list(arguments))
    except SystemExit as error:
        raise UserError(f"bad pipeline option in {' '.join(arguments)}") from error
    flags = [argument for argument in unknown if argument.startswith("-")]
    if flags and known.job_endpoint:
        others = _options_of_server(known.job_endpoint)
        flags = [flag for flag in flags if flag.lstrip("-").partition("=")[0] not in others]
        unknown = flags
    if unknown:
        raise UserError(
            f"unknown flag {' '.join(unknown)}: --help lists the job's flags; others must be "
            "pipeline options of Apache Beam"
        )
    return vars(known)


def _options_of_server(endpoint: str) -> set[str]:
    """Names of the options that a job server has beside those that Beam knows in Python."""
    with grpc.insecure_channel(endpoint) as channel:
        service = beam_job_api_pb2_grpc.JobServiceStub(channel)
        request = beam_job_api_pb2.DescribePipelineOptionsRequest()
        try:
            answer = service.DescribePipelineOptions(request, timeout=_ANSWER_SECONDS)
        except grpc.RpcError as error:
            raise UserError(f"--job_endpoint={endpoint}: the job server does not answer") from error
    return {option.name for option in answer.options}


def _require_no_download(runner: str, options: dict[str, Any]) -> None:
    name = runner.lower().rpartition(".")[2]
    if name not in _DOWNLOADED or options["job_endpoint"]:
        return
    option, what = _DOWNLOADED[name]
    if option is None:
        raise UserError(f"--runner={runner} needs --job_endpoint=HOST:PORT of a Beam job server")
    if options[option] is None:
        raise UserError(
            f"--runner={runner} needs --{option}={what}, or --job_endpoint=HOST:PORT of one that "
            "runs: this job downloads nothing"
        )
    if not Path(options[option]).is_file():
        raise UserError(
            f"--{option}={options[option]} does not exist: give {what}; this job downloads nothing"
        )


def new_pipeline(options: PipelineOptions, *, temporary: str) -> beam.Pipeline:
    """A pipeline that has its temporary files in a directory.

    Raises:
        UserError: The options do not go together.
    """
    # Beam 2.77 has another thread send what is in a buffer once a second, also while an element is
    # being written into it: on a busy machine elements are cut in two, or lost. Without that thread
    # buffers are sent when they are full and when a bundle ends. Only the direct runner has it.
    worker_handlers.DATA_BUFFER_TIME_LIMIT_MS = 0
    # Beam makes a directory for itself at once, which would stay where it is if the job is killed.
    before, tempfile.tempdir = tempfile.tempdir, temporary
    try:
        return beam.Pipeline(options=options)
    except ValueError as error:
        raise UserError(f"the runner's options do not fit: {error}") from error
    finally:
        tempfile.tempdir = before


def run(pipeline: beam.Pipeline, runner: str) -> None:
    """Runs a pipeline to its end; when interrupted it has a cluster cancel it.

    Some job servers, as that of Flink, stop waiting for a batch job and do not cancel it: it fails
    as soon as it writes, since its staging directory is gone.

    Raises:
        UserError: The cluster cannot be reached, or has given the job up.
    """
    if is_direct(runner):
        pipeline.run().wait_until_finish()
        return
    try:
        result = pipeline.run()
        logging.info("The job runs on %s", runner)
        try:
            result.wait_until_finish()
        except KeyboardInterrupt:
            result.cancel()
            raise
    except grpc.FutureTimeoutError as error:
        raise UserError(f"--runner={runner}: its job server does not answer") from error
    except (grpc.RpcError, RuntimeError) as error:
        # Of a step that has refused to work, after much that a runner says of its own.
        refusal = re.search(r"UserError: (.+)", str(error))
        reason = refusal[1] if refusal else next(iter(str(error).splitlines()), "")
        raise UserError(f"--runner={runner} has given up: {reason}; its logs have more") from error
