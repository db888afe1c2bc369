"""What the endpoint is told, checked before anything heavy loads."""

import functools
import ipaddress
from dataclasses import dataclass, field

from cosernn_tf.config import require


@dataclass(frozen=True)
class Limits:
    """What requests may take; `cosernn_tf.serving.http.requests` has what their fields may hold."""

    body_bytes: int = 1_000_000
    """Of a request's body; more is answered with 413."""
    waiting: int = 1_000
    """Requests that wait for the model; one more is answered with 503."""
    batch: int = 64
    """Requests that are answered together."""
    seconds: float = 10.0
    """That a request may take; then it is answered with 504."""

    def __post_init__(self) -> None:
        for name in ("body_bytes", "waiting", "batch", "seconds"):
            value = getattr(self, name)
            require(value > 0, f"the limit {name}={value} must be positive")


@dataclass(frozen=True)
class ServeConfig:
    """How the endpoint listens, and whom it answers."""

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = field(default=None, repr=False)
    """Bearer token that a request must bring; None: nobody is asked for one."""
    allow_anonymous: bool = False
    """Listen beyond this machine without a token."""
    page: bool = True
    """Serve the page for people, and the few user ids that it begins with."""
    access_log: bool = True
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        require(
            self.token is None or len(self.token) >= 16,
            "the token is shorter than 16 characters: make a longer one, for example with "
            "`openssl rand -hex 32`",
        )
        require(
            self.token is None or (self.token.isascii() and self.token.isprintable()),
            "the token has characters that no HTTP header can have: use letters and digits",
        )
        require(
            self.is_local or self.token is not None or self.allow_anonymous,
            f"--host={self.host} is reached from other machines, and no token is set: give one in "
            "COSERNN_TOKEN or --token_file, or say --allow_anonymous",
        )

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it."""
        return is_loopback(self.host)


@functools.lru_cache(maxsize=1_000)
def is_loopback(host: str) -> bool:
    """Whether a host, as in a URL but without brackets, is this machine and nothing else."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
