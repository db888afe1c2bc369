"""Finds stray quotes in delimited text.

A quote that opens a field and is never closed hides all rows after it; one that closes where the
field goes on joins rows. Parsers take both, in silence: a file with either is refused instead.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from cosernn_tf.errors import UserError

_QUOTE: Final = ord('"')
_NEWLINE: Final = ord("\n")
_BYTES_AT_ONCE: Final = 2**24


class CheckedQuotes:
    """The bytes of a stream, as a file; reading it raises `UserError` at a stray quote.

    A quote opens a field where it is the field's first character, and is text anywhere else
    outside of an open one. Within, it closes the field; another one right behind it opens it again.
    """

    closed = False

    def __init__(self, open_again: Callable[[], Any], path: str, *, delimiter: str) -> None:
        self._open_again = open_again
        self._stream = open_again()
        self._path = path
        self._is_end = np.zeros(256, bool)
        self._is_end[[ord(delimiter), _NEWLINE, ord("\r")]] = True
        self._may_follow = self._is_end.copy()
        self._may_follow[_QUOTE] = True
        self._ahead = b""
        self._before = _NEWLINE
        self._offset = 0
        self._is_open = False
        self._opened_at = 0
        self._closed_at = -2

    def close(self) -> None:
        self._stream.close()
        self.closed = True

    def read(self, size: int) -> bytes:
        """At most `size` bytes; none at the end."""
        data = self._stream.read(size - len(self._ahead))
        if self._ahead:
            data = self._ahead + data
        # Whether a quote closes a field is told by what follows it.
        self._ahead = self._stream.read(1) if data.endswith(b'"') else b""
        if data:
            if b'"' in data:
                self._check(data)
            self._offset += len(data)
            self._before = data[-1]
        return data

    def check_end(self) -> None:
        """Raises `UserError` if the last field is still open."""
        if self._is_open:
            raise self._error(self._opened_at, "is never closed")

    def _check(self, data: bytes) -> None:
        """Every quote of a block: at once if they open and close fields by turns, else in turn."""
        after = self._ahead[0] if self._ahead else _NEWLINE
        around = np.frombuffer(bytes([self._before]) + data + bytes([after]), np.uint8)
        (places,) = np.nonzero(around[1:-1] == _QUOTE)
        # The first of every two opens, if none is open.
        opens, closes = places[int(self._is_open) :: 2], places[1 - int(self._is_open) :: 2]
        earlier = np.array([self._closed_at - self._offset][int(self._is_open) :], np.int64)
        begins = opens - 1 != np.concatenate([earlier, closes])[: len(opens)]
        is_regular = (self._is_end[around[opens]] | ~begins).all()
        if is_regular and self._may_follow[around[closes + 2]].all():
            self._is_open = len(opens) > 0 and opens[-1] == places[-1]
            begun, closed = opens[begins][-1:].tolist(), closes[-1:].tolist()
        else:
            begun, closed = self._check_in_turn(places.tolist(), around)
        if begun:
            self._opened_at = self._offset + begun[-1]
        if closed:
            self._closed_at = self._offset + closed[-1]

    def _check_in_turn(self, places: list[int], around: np.ndarray) -> tuple[list[int], list[int]]:
        """Where some quotes may be text: the places at which fields begin, and close."""
        begun, closed = [], [self._closed_at - self._offset]
        for place in places:
            if self._is_open:
                if not self._may_follow[around[place + 2]]:
                    raise self._error(self._offset + place, "ends before its field does")
                self._is_open = False
                closed.append(place)
            elif self._is_end[around[place]]:
                self._is_open = True
                begun.append(place)
            else:
                self._is_open = place - 1 == closed[-1]
        return begun, closed

    def _error(self, offset: int, what: str) -> UserError:
        with self._open_again() as stream:
            line = 1 + _count_lines(stream, offset)
        return UserError(
            f"{self._path}, line {line:,}: a quoted field {what}; write a quote within one twice "
            '(""), and quote fields that begin with one'
        )


def _count_lines(stream: Any, size: int) -> int:
    """Line ends of any kind in the first `size` bytes."""
    lines, is_cut = 0, False
    while size > 0 and (block := stream.read(min(size, _BYTES_AT_ONCE))):
        pairs = block.count(b"\r\n") + (is_cut and block.startswith(b"\n"))
        lines += block.count(b"\n") + block.count(b"\r") - pairs
        is_cut = block.endswith(b"\r")
        size -= len(block)
    return lines
