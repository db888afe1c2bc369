"""The programs that are measured, and what they say they found."""

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.peer import SUMMARY
from cosernn_tf.config import require
from cosernn_tf.workspace import MANIFEST

OURS: Final = "ours"
POLARS: Final = "polars"
PER_LISTEN: Final = "beam_per_listen"

_MODULES: Final = {
    OURS: ("beam_pipelines.sessionize", "--runner=DirectRunner"),
    POLARS: ("benchmarks.polars_sessionize",),
    PER_LISTEN: ("benchmarks.beam_per_listen",),
}
NAMES: Final = tuple(_MODULES)

COUNTS: Final = ("kept", "users", "sessions")


@dataclass(frozen=True)
class Contender:
    """A program that turns a directory of Parquet files into one of sessions."""

    name: str
    template: tuple[str, ...]
    """Its words; `{listens}` and `{output}` stand for the directories."""

    def command(self, *, listens: Path, output: Path) -> list[str]:
        return [
            word.replace("{listens}", str(listens)).replace("{output}", str(output))
            for word in self.template
        ]


def contender(name: str, *, arguments: Sequence[str] = ()) -> Contender:
    """One of `NAMES`, with more arguments."""
    module = (sys.executable, "-m", *_MODULES[name])
    return Contender(name, (*module, "--listens={listens}", "--output={output}", *arguments))


def parse_contender(text: str) -> Contender:
    """Another one, from `NAME=COMMAND`. Raises `UserError` if it is none."""
    name, _, command = text.partition("=")
    words = tuple(shlex.split(command))
    require(
        name.isidentifier() and "{listens}" in command and "{output}" in command,
        f"--also={text} must be NAME=COMMAND: a name of letters, digits and underscores, and a "
        "command with {listens} and {output} in it",
    )
    require(
        name not in NAMES,
        f"--also={text} must have another name than {', '.join(NAMES)}",
    )
    return Contender(name, words)


def read_counts(output: Path) -> dict[str, int] | None:
    """Of what a contender has written: `COUNTS`; None if it does not say."""
    for name in (MANIFEST, SUMMARY):
        if (output / name).is_file():
            said = json.loads((output / name).read_text(encoding="utf-8"))
            counters = said.get("counters", said)
            return {count: counters[count] for count in COUNTS}
    return None
