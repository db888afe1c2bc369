"""What an analysis finds, as `workspace/analysis/` has it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from cosernn_tf.analysis.clustered import CONFIDENCE
from cosernn_tf.analysis.config import AnalysisConfig
from cosernn_tf.analysis.distribution import ContextShare
from cosernn_tf.analysis.rows import Row, to_csv

ANALYSIS_FORMAT: Final = 1
"""Version of the form of `analysis.json`."""
ANALYSIS_FILE: Final = "analysis.json"


@dataclass(frozen=True)
class TableKind:
    """A table that an analysis has."""

    figure: str
    """Of the paper."""
    title: str
    row_type: type[Row]


CONTEXT_SHARES: Final = "context_shares"

TABLES: Final[Mapping[str, TableKind]] = {
    CONTEXT_SHARES: TableKind("Fig. 1", "Sessions and users by context", ContextShare),
}
"""By name, which is that of their CSV file, in the order of the paper."""


@dataclass(frozen=True)
class Coverage:
    """What there was to look at. Listens are the kept ones, the first 10 of each session."""

    users: int
    sessions: int
    sessions_embedded: int
    """With a track that has an embedding."""
    listens: int
    listens_embedded: int
    listens_skipped: int


@dataclass(frozen=True)
class Analysis:
    """The tables behind the figures, and what they rest on."""

    config: AnalysisConfig
    coverage: Coverage
    tables: Mapping[str, tuple[Row, ...]]
    """By name, all of `TABLES`."""
    notes: tuple[str, ...]
    """What the log does not tell, a sentence each."""
    provenance: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The content of `analysis.json`; what is not defined is null."""
        return {
            "format": ANALYSIS_FORMAT,
            "confidence": CONFIDENCE,
            "options": asdict(self.config),
            "coverage": asdict(self.coverage),
            "notes": list(self.notes),
            "tables": {
                name: {
                    "figure": kind.figure,
                    "title": kind.title,
                    "columns": list(kind.row_type.columns()),
                    "rows": [row.to_json() for row in self.tables[name]],
                }
                for name, kind in TABLES.items()
            },
            "provenance": dict(self.provenance),
        }

    def write(self, folder: Path) -> None:
        """Writes `analysis.json`, and a CSV file a table."""
        text = json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n"
        (folder / ANALYSIS_FILE).write_text(text, encoding="utf-8")
        for name, kind in TABLES.items():
            csv = to_csv(kind.row_type, self.tables[name])
            (folder / f"{name}.csv").write_text(csv, encoding="utf-8")
