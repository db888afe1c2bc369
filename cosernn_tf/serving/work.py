"""What a recommender has done so far, for who watches it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

MODEL: Final = "model"
SEARCH: Final = "search"
LOAD: Final = "load"
COMMIT: Final = "commit"


@dataclass
class Work:
    """Sums since it was opened."""

    seconds: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys((MODEL, SEARCH, LOAD, COMMIT), 0.0)
    )
    """In the predictions of the model, the search of tracks, and the store."""
    loads: int = 0
    """Users whose state was read from the store."""
    evictions: int = 0
    """Users who have made room in memory for others."""

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Adds the seconds within to a part's."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] += time.perf_counter() - start
