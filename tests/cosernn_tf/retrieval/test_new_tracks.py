"""Files of tracks that come and go, good and bad."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cosernn_tf.errors import UserError
from cosernn_tf.retrieval.new_tracks import read_new_tracks, read_track_ids

from .vectors import unit_vectors

GOOD = unit_vectors(np.random.default_rng(0), 4)
IDS = ["a", "b", "c", "d"]


def write(path: Path, ids: Any, embeddings: Any, **others: Any) -> Path:
    columns = {"track_id": ids, "embedding": embeddings}
    kept = {name: column for name, column in columns.items() if column is not None}
    pq.write_table(pa.table({**kept, **others}), path)
    return path


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        (pa.list_(pa.float32()), np.float32),
        (pa.list_(pa.float64()), np.float64),
        (pa.large_list(pa.float16()), np.float16),
        (pa.list_(pa.float32(), 40), np.float32),
    ],
)
def test_lists_of_any_kind_are_read(tmp_path, kind, dtype):
    embeddings = pa.array(list(GOOD.astype(dtype)), kind)
    path = write(tmp_path / "new.parquet", IDS, embeddings, year=[1, 2, 3, 4])
    new = read_new_tracks(path)
    assert new.track_ids.to_pylist() == IDS
    assert new.vectors.dtype == np.float32
    np.testing.assert_allclose(new.vectors, GOOD, atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(new.vectors, axis=1), 1, atol=1e-6)


def test_only_the_direction_of_an_embedding_counts(tmp_path, caplog):
    caplog.set_level("INFO", logger="absl")
    scaled = GOOD.astype(np.float64) * np.array([[1.0], [1e300], [1e-300], [3.0]])
    new = read_new_tracks(write(tmp_path / "new.parquet", IDS, list(scaled)))
    np.testing.assert_allclose(new.vectors, GOOD, atol=1e-6)
    assert "3 embeddings had not unit norm" in caplog.text


def changed(row: int, value: Any) -> list[Any]:
    embeddings = [list(map(float, vector)) for vector in GOOD]
    embeddings[row] = value
    return embeddings


@pytest.mark.parametrize(
    ("ids", "embeddings", "says"),
    [
        (None, list(GOOD), r"has no column track_id \(it has embedding\)"),
        (IDS, None, "has no column embedding"),
        ([], pa.array([], pa.list_(pa.float32())), "has no track"),
        ([1, 2, 3, 4], list(GOOD), "track_id is int64, it must be text"),
        (["a", None, "c", None], list(GOOD), "2 rows have no track_id"),
        (["a", "b", "a", "b"], list(GOOD), "has 2 tracks more than once, the first is a"),
        (IDS, [1.0, 2.0, 3.0, 4.0], "embedding is double, it must be a list"),
        (IDS, [["x"]] * 4, "it must be a list of floating-point"),
        (IDS, [[1] * 40] * 4, "it must be a list of floating-point"),
        (IDS, changed(2, [0.5] * 39), "1 embeddings have not 40 numbers, c's is the first"),
        (IDS, changed(1, None), "1 embeddings have not 40 numbers, b's is the first"),
        (IDS, changed(3, [None] + [0.1] * 39), "1 embeddings are not finite, d's is the first"),
        (IDS, changed(0, [np.nan] * 40), "1 embeddings are not finite, a's is the first"),
        (IDS, changed(0, [np.inf] + [0.0] * 39), "1 embeddings are not finite"),
        (IDS, changed(1, [0.0] * 40), "1 embeddings are zero, b's is the first"),
    ],
)
def test_bad_files_are_one_line_that_names_the_first(tmp_path, ids, embeddings, says):
    path = write(tmp_path / "new.parquet", ids, embeddings)
    with pytest.raises(UserError, match=rf"^--new_tracks=.*new\.parquet.*{says}"):
        read_new_tracks(path)


def test_what_is_no_parquet_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        read_new_tracks(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("a\n")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        read_new_tracks(tmp_path / "text.parquet")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        read_track_ids(tmp_path / "text.parquet", flag="remove_tracks")


def test_ids_are_lines_or_a_column(tmp_path):
    (tmp_path / "ids.txt").write_text("a\n\nspotify:track:b\nü\n", encoding="utf-8")
    ids = read_track_ids(tmp_path / "ids.txt", flag="remove_tracks")
    assert ids.to_pylist() == ["a", "spotify:track:b", "ü"]
    path = write(tmp_path / "ids.parquet", pa.array(IDS).dictionary_encode(), None)
    assert read_track_ids(path, flag="remove_tracks").to_pylist() == IDS


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "has no track"), (b"a\nb\na\n", "1 tracks more than once"), (b"\xff\n", "be read")],
)
def test_bad_lists_of_ids(tmp_path, content, says):
    (tmp_path / "ids").write_bytes(content)
    with pytest.raises(UserError, match=f"^--restore_tracks=.*{says}"):
        read_track_ids(tmp_path / "ids", flag="restore_tracks")


def test_a_list_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"--remove_tracks=.*none cannot be read"):
        read_track_ids(tmp_path / "none", flag="remove_tracks")
