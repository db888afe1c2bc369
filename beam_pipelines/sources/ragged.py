"""Lines of delimited text that are neither UTF-8 nor of the right number of fields.

Arrow hands over a row with too many or too few fields as text, and gives the whole file up where
it is none.
"""

from typing import Any


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

    def close(self) -> None:
        self._stream.close()
        self.closed = True

    def read(self, size: int) -> bytes:
        """At most `size` bytes, of whole lines where they fit; none at the end."""
        block = self._stream.read(size - len(self._rest))
        data, self._rest = self._rest + block, b""
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        if block and end:
            data, self._rest = data[:end], data[end:]
        self._has_quotes = self._has_quotes or (self._may_be_quoted and b'"' in data)
        if not self._has_quotes and not is_utf8(data):
            data = b"".join(map(self._showable, data.splitlines(keepends=True)))
        return data

    def _showable(self, line: bytes) -> bytes:
        if line.count(self._delimiter) == self._num_fields - 1 or is_utf8(line):
            return line
        return line.decode(errors="surrogateescape").encode(errors="replace")


def is_utf8(data: bytes) -> bool:
    try:
        return data.isascii() or bool(data.decode())
    except UnicodeDecodeError:
        return False
