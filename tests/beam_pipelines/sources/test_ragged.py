"""Lines that Arrow cannot show, whatever the blocks that they come in."""

import io
import random

import pytest

from beam_pipelines.sources.ragged import ShowableRows, is_utf8


def shown(data: bytes, size: int, *, quoted: bool = False) -> bytes:
    rows = ShowableRows(io.BytesIO(data), delimiter=",", num_fields=3, quoted=quoted)
    blocks = []
    while block := rows.read(size):
        assert len(block) <= size
        blocks.append(block)
    return b"".join(blocks)


def test_only_bytes_of_ragged_lines_that_are_no_text_are_replaced():
    data = "ä,b\xff,c\nä,b\xff\r\n\xff,,,\xfeü\ra,ü,c\n\xff".encode("latin-1")
    data = data.replace(b"\xe4", "ä".encode()).replace(b"\xfc", "ü".encode())
    expected = "ä,b".encode() + b"\xff,c\n" + "ä,b?\r\n?,,,?ü\ra,ü,c\n?".encode()
    assert shown(data, 1_000) == expected
    assert shown(data, 1_000, quoted=True) == expected


def test_blocks_make_no_difference_where_lines_fit_into_them():
    rng = random.Random(0)
    parts = [b"a", b",", b",", "ü".encode(), b"\xff", b"\n", b"\r\n"]
    changed = 0
    for _ in range(300):
        data = b"".join(rng.choices(parts, k=rng.randrange(60)))
        whole = shown(data, 10_000)
        longest = max(map(len, data.splitlines(keepends=True)), default=0)
        for size in (2 * longest + 2, 3 * longest + 5):
            assert shown(data, size) == whole
        # Text is as it was, and so is every line with the right number of fields.
        for before, after in zip(data.splitlines(), whole.splitlines(), strict=True):
            changed += before != after
            assert before == after or (before.count(b",") != 2 and is_utf8(after))
            assert len(before) == len(after)
    assert changed > 100


@pytest.mark.parametrize("size", [5, 1_000])
def test_from_a_quote_on_lines_are_left_alone(size):
    data = b'"a\n\xff",b,c\n\xff\n'
    assert shown(data, size, quoted=True) == data
    assert shown(data, 1_000) != data


@pytest.mark.parametrize("padding", [0, 10_000])
def test_is_utf8(padding):
    for data in (b"", b"abc", "äü😀\0".encode()):
        assert is_utf8(b"a" * padding + data)
    for data in (b"\xff", "ü".encode()[:1], b"\xed\xa0\x80", b"\xc0\x80"):
        assert not is_utf8(b"a" * padding + data)
        assert not is_utf8(data + b"a" * padding)
