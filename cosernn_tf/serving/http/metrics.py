"""What is measured of a server, for Prometheus."""

from dataclasses import replace
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector

from cosernn_tf.serving.recommender import Recommender
from cosernn_tf.serving.work import Work

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_PREFIX: Final = "cosernn_"


class Metrics:
    """A registry of its own, so that a process may have several servers."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        GCCollector(self._registry)
        ProcessCollector(registry=self._registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(_PREFIX + name, text, labels, registry=self._registry)

        def histogram(
            name: str, text: str, *labels: str, buckets: tuple[float, ...] = _SECONDS
        ) -> Histogram:
            return Histogram(_PREFIX + name, text, labels, registry=self._registry, buckets=buckets)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(_PREFIX + name, text, registry=self._registry)

        self.requests = counter(
            "requests", "Requests that were answered.", "route", "method", "status"
        )
        self.seconds = histogram("request_seconds", "From a request to its answer.", "route")
        self.waited = histogram("wait_seconds", "Until a batch took a request.")
        self.batch_size = histogram(
            "batch_size", "Requests of a micro-batch.", "kind", buckets=_SIZES
        )
        self.batch_seconds = histogram("batch_seconds", "Of a micro-batch.", "kind")
        self.parts = counter(
            "part_seconds",
            "Seconds in the model, the search of tracks, and the store.",
            "part",
        )
        self.listens = counter("listens", "Listens that were sent.", "outcome")
        self.unknown_tracks = counter("unknown_tracks", "Listens of tracks without a row.")
        self.users = gauge("users_in_memory", "Users whose state is in memory.")
        self.loads = counter("user_loads", "Users whose state was read from the store.")
        self.evictions = counter("user_evictions", "Users whose state left the memory.")
        self.reloads = counter("reloads", "Exchanges of the model.", "outcome")
        self.is_ready = gauge("ready", "1 once recommendations are answered.")
        self._watched: Work | None = None
        self._before = Work()
        self.model = Info(_PREFIX + "model", "What answers.", registry=self._registry)

    def batch(self, kind: str, size: int, seconds: float) -> None:
        self.batch_size.labels(kind).observe(size)
        self.batch_seconds.labels(kind).observe(seconds)

    def watch(self, recommender: Recommender) -> None:
        """Takes over what it has done; called in the thread that asks it."""
        now = recommender.work
        if self._watched is not now:
            self._watched, self._before = now, Work()
        before = self._before
        self.users.set(recommender.users_in_memory)
        self.loads.inc(now.loads - before.loads)
        self.evictions.inc(now.evictions - before.evictions)
        for part, seconds in now.seconds.items():
            self.parts.labels(part).inc(seconds - before.seconds[part])
        self._before = replace(now, seconds=dict(now.seconds))

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self._registry)
