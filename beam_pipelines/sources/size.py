"""About how many listens a log has, told before it is read, to cut the work by."""

import contextlib
from collections.abc import Iterable
from math import ceil
from pathlib import Path
from typing import Final

import pyarrow as pa

from beam_pipelines.sources.base import Unit
from beam_pipelines.sources.files import decompressed

_SAMPLE_BYTES: Final = 2**20
"""Of a file as it is stored: enough that what the decoder reads ahead does not count."""
_READ_BYTES: Final = 2**18
_FEWEST_BYTES: Final = 32
"""Of a listen, where the file does not say."""


def estimate_listens(units: Iterable[Unit]) -> int:
    """The listens of all units: what Parquet's metadata say, and what a sample of the text does.

    Of text files with the same ending, the start of the largest stands for all.
    """
    known = 0
    sizes: dict[str, dict[str, int]] = {}
    for unit in units:
        if unit.listens is not None:
            known += unit.listens
        else:
            path = Path(unit.path)
            ending = "".join(path.suffixes[-2:]).lower()
            sizes.setdefault(ending, {})[unit.path] = path.stat().st_size
    return known + sum(
        ceil(sum(of_ending.values()) * _listens_per_byte(max(of_ending, key=of_ending.__getitem__)))
        for of_ending in sizes.values()
    )


def _listens_per_byte(path: str) -> float:
    """Of the file as it is stored: objects of JSON, lines of anything else."""
    mark = b"{" if ".json" in Path(path).suffixes else b"\n"
    listens, stored = 0, 0
    # What is damaged or gone is named when it is read.
    with contextlib.suppress(OSError, pa.ArrowInvalid), open(path, "rb") as file:
        stream = decompressed(pa.PythonFile(file), path)
        while stored < _SAMPLE_BYTES and (block := stream.read(_READ_BYTES)):
            listens += block.count(mark)
            stored = file.tell()
    return listens / stored if listens else 1 / _FEWEST_BYTES
