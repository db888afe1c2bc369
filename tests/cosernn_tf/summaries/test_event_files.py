"""A run that goes on: no step twice, and nothing that is half written."""

from pathlib import Path

import pytest
import tensorflow as tf

from cosernn_tf.summaries.event_files import forget_after
from tests.cosernn_tf.summaries.events import read


def write(directory: Path, steps: range, *, offset: float) -> None:
    writer = tf.summary.create_file_writer(str(directory), filename_suffix=f".{offset}")
    with writer.as_default():
        for step in steps:
            tf.summary.scalar("loss", step + offset, step=step)
    writer.close()


def test_later_steps_are_forgotten_and_earlier_ones_stay(tmp_path):
    write(tmp_path, range(1, 4), offset=0.0)
    write(tmp_path, range(4, 8), offset=0.25)
    forget_after(tmp_path, 5)
    write(tmp_path, range(6, 9), offset=0.5)
    values = {step: float(value) for step, value in read(tmp_path)["loss"].items()}
    assert values == {1: 1.0, 2: 2.0, 3: 3.0, 4: 4.25, 5: 5.25, 6: 6.5, 7: 7.5, 8: 8.5}
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("lost", [1, 20, 50])
def test_a_file_that_breaks_off_is_kept_up_to_there(tmp_path, lost):
    write(tmp_path, range(1, 5), offset=0.0)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-lost])
    with pytest.raises(tf.errors.DataLossError):
        read(tmp_path)
    forget_after(tmp_path, 4)
    assert sorted(read(tmp_path)["loss"]) == [1, 2, 3]


def test_a_directory_that_is_not_there_is_no_error(tmp_path):
    forget_after(tmp_path / "nowhere", 3)
    assert not (tmp_path / "nowhere").exists()
