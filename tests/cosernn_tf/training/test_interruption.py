"""Signals are put off until what belongs together is done."""

import signal
import threading

import pytest

from cosernn_tf.training.interruption import undisturbed


class StoppedError(Exception):
    pass


@pytest.fixture
def handled():
    """The signals that the handler of SIGTERM has had, which raises as that of a command does."""
    numbers = []

    def stop(number, frame):
        numbers.append(number)
        raise StoppedError

    former = signal.signal(signal.SIGTERM, stop)
    yield numbers
    signal.signal(signal.SIGTERM, former)


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, StoppedError)]
)
def test_a_signal_waits_for_the_end_of_the_block(handled, number, error):
    done = []

    def do():
        with undisturbed():
            signal.raise_signal(number)
            signal.raise_signal(number)
            done.append("all of it")

    with pytest.raises(error):
        do()
    assert done == ["all of it"]
    assert handled == ([number] if number == signal.SIGTERM else [])
    # As before.
    with pytest.raises(error):
        signal.raise_signal(number)


def test_a_signal_counts_though_the_block_fails(handled):
    def fail():
        with undisturbed():
            signal.raise_signal(signal.SIGTERM)
            raise OSError

    with pytest.raises(StoppedError):
        fail()


def test_without_a_signal_nothing_changes(handled):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with undisturbed():
        assert signal.getsignal(signal.SIGTERM) != before[1]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_other_threads_have_no_handlers_to_put_off():
    found = []

    def enter():
        with undisturbed():
            found.append(True)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [True]
