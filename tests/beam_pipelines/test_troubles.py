"""What becomes of errors in the steps of a pipeline."""

import errno
import os
import sys
from collections.abc import Callable

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beam_pipelines.troubles import told_once
from cosernn_tf.errors import UserError


def fail_in_a_step(step: Callable[[int], None]) -> None:
    """In a thread of the direct runner, as in the job."""
    options = PipelineOptions(
        ["--runner=FnApiRunner", "--direct_running_mode=multi_threading", "--direct_num_workers=2"]
    )
    with told_once(), beam.Pipeline(options=options) as pipeline:
        _ = pipeline | beam.Create([1]) | beam.Map(step)


def test_a_full_disk_is_known_whatever_the_runner_makes_of_it(capfd):
    def write(element: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a file")

    with pytest.raises(OSError, match="No space left") as error:
        fail_in_a_step(write)
    assert error.value.errno == errno.ENOSPC
    assert "Traceback" not in capfd.readouterr().err


def test_a_bug_is_raised_with_its_traceback_and_not_printed_before(capfd):
    def divide(element: int) -> None:
        raise ZeroDivisionError("a bug of [Errno 9999]")

    with pytest.raises(RuntimeError) as error:
        fail_in_a_step(divide)
    assert "ZeroDivisionError: a bug" in str(error.value)
    assert "in divide" in str(error.value)
    assert "Traceback" not in capfd.readouterr().err


def test_what_a_person_reads_already_is_left_alone():
    with pytest.raises(UserError, match="damaged"), told_once():
        raise UserError("log.csv is damaged: [Errno 5] Input/output error")


def test_other_output_passes(capfd):
    with told_once():
        print("a warning", file=sys.stderr)
        print("Traceback (most recent call last): ...", file=sys.stderr)
        print("another", file=sys.stderr)
    assert capfd.readouterr().err == "a warning\nanother\n"
