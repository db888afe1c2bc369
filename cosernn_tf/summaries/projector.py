"""The track space for TensorBoard's tab "Projector": the tracks most listened to, in clusters."""

from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from scipy.cluster.vq import kmeans2
from tensorboard.plugins.projector import ProjectorConfig, visualize_embeddings

from cosernn_tf.permutations import inverse

MAX_TRACKS: Final = 10_000
"""What TensorBoard shows of a space without sampling it once more."""
CLUSTERS: Final = 10
"""TensorBoard has as many colours for them."""

_SEED: Final = 1
_ITERATIONS: Final = 20

VECTORS: Final = "tracks.tsv"
METADATA: Final = "tracks_metadata.tsv"


def write_track_space(
    directory: Path, track_embeddings: np.ndarray, tracks: pa.Table, *, limit: int = MAX_TRACKS
) -> None:
    """Writes vectors, metadata and the projector's configuration beside a run's events.

    Args:
        directory: Of a TensorBoard run.
        track_embeddings: (tracks, dim) float32, unit norm, zero where a track has none.
        tracks: Their vocabulary: `track_id` and `train_listens`, by descending listens.
        limit: The tracks with an embedding that are shown, those most listened to.
    """
    rows = np.flatnonzero(track_embeddings.any(axis=1))[:limit]
    vectors = track_embeddings[rows]
    shown = tracks.take(pa.array(rows))
    clusters = clusters_of(vectors)
    np.savetxt(directory / VECTORS, vectors, fmt="%.5g", delimiter="\t")
    lines = ["track_id\ttrain_listens\tcluster\n"]
    for track_id, listens, cluster in zip(
        shown["track_id"].to_pylist(), shown["train_listens"].to_pylist(), clusters, strict=True
    ):
        # Ids are opaque: a tab or a line break would be one more column or row.
        lines.append(f"{' '.join(track_id.split())}\t{listens}\t{cluster}\n")
    (directory / METADATA).write_text("".join(lines), encoding="utf-8")
    config = ProjectorConfig()
    config.embeddings.add(
        tensor_name=f"tracks ({len(rows):,} of {len(track_embeddings):,})",
        tensor_path=VECTORS,
        metadata_path=METADATA,
        tensor_shape=vectors.shape,
    )
    visualize_embeddings(str(directory), config)


def clusters_of(vectors: np.ndarray, *, clusters: int = CLUSTERS) -> np.ndarray:
    """(n,) cluster of each of (n, dim) vectors by k-means, 0 being the largest one."""
    clusters = min(clusters, len(vectors))
    if not clusters:
        return np.zeros(0, np.int64)
    _, label = kmeans2(
        vectors.astype(np.float64), clusters, iter=_ITERATIONS, minit="++", seed=_SEED
    )
    _, label, sizes = np.unique(label, return_inverse=True, return_counts=True)
    place = inverse(np.argsort(-sizes, kind="stable"))
    return np.asarray(place[label])
