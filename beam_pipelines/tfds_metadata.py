"""The two files with which `tfds.builder_from_directory` opens session sequences.

Written by hand, as TensorFlow Datasets would take TensorFlow into the pipeline; a test opens them.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from cosernn_tf.schema import MAX_TRACKS_PER_SESSION, SCHEMA_VERSION, SESSION_FEATURES, Per
from cosernn_tf.workspace import Shard

_DIMENSIONS: Final = {
    Per.USER: [],
    Per.SESSION: ["-1"],
    Per.TRACK: ["-1", str(MAX_TRACKS_PER_SESSION)],
}
_MODULE: Final = "tensorflow_datasets.core.features"


def write_tfds_metadata(directory: Path, shards: Sequence[Shard], *, num_bytes: int) -> None:
    """Writes `features.json` and `dataset_info.json`."""
    features = {
        feature.name: {
            "pythonClassName": f"{_MODULE}.tensor_feature.Tensor",
            "tensor": {
                "dtype": "string" if feature.dtype is np.bytes_ else np.dtype(feature.dtype).name,
                "encoding": "none",
                "shape": {"dimensions": _DIMENSIONS[feature.per]},
            },
            "description": feature.meaning,
        }
        for feature in SESSION_FEATURES
    }
    _write(
        directory / "features.json",
        {
            "pythonClassName": f"{_MODULE}.features_dict.FeaturesDict",
            "featuresDict": {"features": features},
        },
    )
    _write(
        directory / "dataset_info.json",
        {
            "name": "sessions",
            "version": f"{SCHEMA_VERSION}.0.0",
            "description": "Session sequences, one record a user; see manifest.json.",
            "fileFormat": "tfrecord",
            "splits": [
                {
                    "name": "users",
                    "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
                    "numBytes": str(num_bytes),
                    "shardLengths": [str(shard.users) for shard in shards],
                }
            ],
        },
    )


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
