"""Lines of delimited text that are neither UTF-8 nor of the right number of fields.

Arrow hands over a row with too many or too few fields as text, and gives the whole file up where
it is none.
"""

from typing import Any, Final

import numpy as np
import pyarrow as pa

_FEW_BYTES: Final = 2**12


class ShowableRows:
    """The lines of a stream, as a file, in which bytes of ragged lines that are no text are "?".

    Other lines are as they were: which of their fields is no text is seen later. So are all lines
    from a quote on, since with quotes a line need not be a row.
    """

    closed = False

    def __init__(self, stream: Any, *, delimiter: str, num_fields: int, quoted: bool) -> None:
        self._stream = stream
        self._delimiter = delimiter.encode()
        self._num_fields = num_fields
        self._may_be_quoted = quoted
        self._has_quotes = False
        self._rest = b""
        self._delimiters_before = 0

    def close(self) -> None:
        self._stream.close()
        self.closed = True

    def read(self, size: int) -> bytes:
        """At most `size` bytes; none at the end."""
        data = self._stream.read(size - len(self._rest))
        if self._rest:
            data, self._rest = self._rest + data, b""
        self._has_quotes = self._has_quotes or (self._may_be_quoted and b'"' in data)
        if not self._has_quotes and not is_utf8(data):
            data = self._showable(data)
        end = _end_of_lines(data)
        before = 0 if end else self._delimiters_before
        self._delimiters_before = before + data.count(self._delimiter, end)
        return data

    def _showable(self, data: bytes) -> bytes:
        """The same for whole lines, the rest of which comes with the next block."""
        end = _end_of_lines(data) or len(data)
        self._rest = data[end:]
        lines = data[:end].splitlines(keepends=True)
        before = [self._delimiters_before, *[0] * (len(lines) - 1)]
        return b"".join(map(self._showable_line, lines, before))

    def _showable_line(self, line: bytes, delimiters_before: int) -> bytes:
        delimiters = delimiters_before + line.count(self._delimiter)
        if delimiters == self._num_fields - 1 or is_utf8(line):
            return line
        return line.decode(errors="surrogateescape").encode(errors="replace")


def _end_of_lines(data: bytes) -> int:
    """Behind the last whole line; 0 if there is none."""
    return max(data.rfind(b"\n"), data.rfind(b"\r")) + 1


def is_utf8(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        if len(data) < _FEW_BYTES:
            data.decode()
        else:  # without a copy
            ends = pa.py_buffer(np.array([0, len(data)], np.int32))
            pa.StringArray.from_buffers(1, ends, pa.py_buffer(data)).validate(full=True)
    except (UnicodeDecodeError, pa.ArrowInvalid):
        return False
    return True
