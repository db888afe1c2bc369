"""Stray quotes, against what the csv module of Python calls one."""

import csv
import io
import random

import pytest

from beam_pipelines.sources.quotes import CheckedQuotes
from cosernn_tf.errors import UserError


def is_strict(text: str) -> bool:
    """By the csv module: quoted fields end where they should, and all of them do."""
    try:
        list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error:
        return False
    return True


def complaint(data: bytes, size: int) -> str | None:
    checked = CheckedQuotes(lambda: io.BytesIO(data), "log.csv", delimiter=",")
    passed = b""
    try:
        while block := checked.read(size):
            assert len(block) <= size
            passed += block
        checked.check_end()
    except UserError as error:
        return str(error)
    assert passed == data
    return None


def test_a_file_is_refused_if_and_only_if_a_strict_parser_refuses_it():
    rng = random.Random(0)
    refused = 0
    for _ in range(1_500):
        text = "".join(rng.choices('ab,"""\n', k=rng.randrange(1, 24)))
        refused += (expected := not is_strict(text))
        for size in (1, 3, 1_000):
            assert (complaint(text.encode(), size) is not None) == expected, (text, size)
    assert 300 < refused < 1_200


@pytest.mark.parametrize("size", [1, 5, 8, 1_000])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ('a,b\n"c,d\ne,f\n', 2, "never closed"),
        ('a,b\n"c ""d""\n,e\nf,g\n', 2, "never closed"),
        ('a,"b\nc",d\n"e" f,g\n', 3, "ends before its field does"),
        ('1" a,b\n"c" d,e\n', 2, "ends before its field does"),
    ],
)
def test_the_line_is_named(text, line, what, newline, size):
    found = complaint(text.replace("\n", newline).encode(), size)
    assert found is not None
    assert found.startswith(f"log.csv, line {line}: a quoted field")
    assert what in found
