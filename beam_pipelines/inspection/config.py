"""What a description is asked to say."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CardFields:
    """What only a person knows of a data set; empty where it is not stated."""

    title: str = ""
    author: str = ""
    licence: str = ""
    source: str = ""
    """Where the log is from, and how it is got."""


@dataclass(frozen=True)
class DescribeConfig:
    """Options of `beam_pipelines.describe`."""

    sessions: Path
    output: Path
    card: CardFields = CardFields()
