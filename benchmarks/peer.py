"""What peers share: the command line, and the file of what they found."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

SUMMARY: Final = "summary.json"


def run(sessionize: Callable[[Path, Path], None], *, description: str | None) -> None:
    """Calls `sessionize(listens, output)` with what the command line says."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--listens", type=Path, required=True, help="directory of Parquet files")
    parser.add_argument("--output", type=Path, required=True, help="directory to write")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    sessionize(arguments.listens, arguments.output)


def write_counts(output: Path, counts: dict[str, int]) -> None:
    """Writes `SUMMARY`: `contenders.COUNTS`, and maybe others."""
    (output / SUMMARY).write_text(json.dumps(counts) + "\n", encoding="utf-8")
