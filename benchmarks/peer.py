"""The command line that peers share: a program of its own each, as nobody would mix them."""

import argparse
from collections.abc import Callable
from pathlib import Path


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
