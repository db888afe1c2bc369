"""What an analysis finds, as `workspace/analysis/` has it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from cosernn_tf.analysis.clustered import CONFIDENCE
from cosernn_tf.analysis.config import AnalysisConfig
from cosernn_tf.analysis.coverage import Coverage
from cosernn_tf.analysis.distribution import ContextShare
from cosernn_tf.analysis.improvement import Improvement
from cosernn_tf.analysis.nearest import NearestContext
from cosernn_tf.analysis.rows import Row, to_csv
from cosernn_tf.analysis.skips import SkipCorrelation, SkipRateAtCosine
from cosernn_tf.analysis.variety import ContextSimilarity

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
CONTEXT_SIMILARITY: Final = "context_similarity"
SKIP_CORRELATION: Final = "skip_correlation"
SKIP_CURVE: Final = "skip_curve"
NEAREST_SESSIONS: Final = "nearest_sessions"
IMPROVEMENT: Final = "improvement"

TABLES: Final[Mapping[str, TableKind]] = {
    CONTEXT_SHARES: TableKind("Fig. 1", "Sessions and users by context", ContextShare),
    CONTEXT_SIMILARITY: TableKind(
        "Fig. 2a", "Cosine of two listens of a context", ContextSimilarity
    ),
    SKIP_CORRELATION: TableKind(
        "Fig. 2b", "Skip rate and cosine to the user's earlier sessions", SkipCorrelation
    ),
    SKIP_CURVE: TableKind(
        "Fig. 2b", "Skip rate by cosine to the user's earlier sessions", SkipRateAtCosine
    ),
    NEAREST_SESSIONS: TableKind(
        "Fig. 3", "Context of the nearest session, against chance", NearestContext
    ),
    IMPROVEMENT: TableKind("Fig. 5", "Improvement over a reference by context", Improvement),
}
"""By name, which is that of their CSV file, in the order of the paper."""


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
