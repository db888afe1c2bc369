"""`make flink-test` and `make prism-test` run in a network of their own, where they can."""

import fcntl
import socket
import struct

import pytest

_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 1
_REQUEST = "16sH22x"
"""struct ifreq: a name and flags."""


@pytest.fixture(scope="session", autouse=True)
def loopback() -> None:
    """A new network has a loopback interface, and that is down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        answer = fcntl.ioctl(any_socket, _GET_FLAGS, struct.pack(_REQUEST, b"lo", 0))
        _, flags = struct.unpack(_REQUEST, answer)
        if not flags & _UP:
            fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack(_REQUEST, b"lo", flags | _UP))
