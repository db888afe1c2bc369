"""Describes a directory of session sequences: the library behind the command."""

from pathlib import Path
from typing import Final

from absl import logging
from tqdm import tqdm

from beam_pipelines.inspection.card import DATA_CARD, data_card
from beam_pipelines.inspection.config import DescribeConfig
from beam_pipelines.inspection.counts import Counts
from beam_pipelines.inspection.plots import PLOTS, PLOTTERS, write_plots
from beam_pipelines.inspection.statistics import Statistics, summarize
from cosernn_tf.dataset import read_shard
from cosernn_tf.staging import staged
from cosernn_tf.workspace import SessionsDirectory, open_sessions

STATISTICS: Final = "statistics.json"


def describe(config: DescribeConfig) -> Statistics:
    """Writes statistics, plots and the data card; an older description is replaced as a whole.

    Raises:
        UserError: The session sequences are missing, unfinished or damaged, or the output cannot be
            written.
    """
    sessions = open_sessions(config.sessions)
    with staged(config.output, marker=STATISTICS) as staging:
        statistics = gather(sessions)
        logging.info("Drawing %d plots", len(PLOTTERS))
        write_plots(statistics, staging / PLOTS)
        card = data_card(
            statistics,
            config.card,
            plots={f"{PLOTS}/{name}": what for name, (what, _) in PLOTTERS.items()},
            has_rejected_rows=any(sessions.path.glob("rejected.jsonl-*")),
            has_state=bool(sessions.manifest.state),
        )
        (staging / DATA_CARD).write_text(card, encoding="utf-8")
        (staging / STATISTICS).write_text(statistics.to_json(), encoding="utf-8")
    return statistics


def gather(sessions: SessionsDirectory) -> Statistics:
    """The statistics of all users; a shard at a time is in memory, and the vocabulary."""
    counts = Counts(sessions, num_tracks=len(sessions.train_listens))
    num_bytes = 0
    shards = sessions.manifest.shards
    total = sum(shard.sessions for shard in shards)
    with tqdm(total=total, desc="describe", unit="session") as bar:
        for shard in shards:
            num_bytes += _size(sessions.path / shard.name)
            if shard.users:
                counts.add(read_shard(sessions, shard))
            bar.update(shard.sessions)
    return summarize(sessions, counts, num_bytes=num_bytes)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
