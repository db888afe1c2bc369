"""docs/metrics.md: it defines every metric, and what it links to is there."""

import dataclasses
import re
from pathlib import Path

import pytest

from cosernn_tf.evaluation import groups
from cosernn_tf.evaluation.catalogue_metrics import CATALOGUE_METRICS, Part
from cosernn_tf.evaluation.metrics import METRICS
from cosernn_tf.evaluation.recommended import Recommended
from cosernn_tf.evaluation.scores import ATTENTION_OFFSET

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")


def general(name: str) -> str:
    """As the page has it: K candidates, k best."""
    name = re.sub(r"^((?:session_rr|session_rank|ap|recall10)_)\d+$", r"\1K", name)
    return re.sub(r"^(catalogue_(?:recall|ndcg|hit)_)\d+$", r"\1k", name)


@pytest.mark.parametrize(
    "name",
    [
        *(metric.name for metric in METRICS),
        *(metric.name for metric in CATALOGUE_METRICS if metric.part is Part.ALL),
    ],
)
def test_every_metric_has_a_formula(name):
    assert re.search(rf"(^|`){general(name)}`? *= ", PAGE, re.MULTILINE), name


def test_every_other_figure_is_there():
    recommended = [field.name for field in dataclasses.fields(Recommended)]
    for name in set(recommended) - {"lists", "distinct_tracks"}:
        assert re.search(rf"^{name} {{2,}}\S", PAGE, re.MULTILINE), name
    dimensions = [getattr(groups, name) for name in ("EARLIER_SESSIONS", "DAYS_SINCE_TRAINING",
                  "ACTIVITY", "AGE", "PERIOD", "DEVICE")]  # fmt: skip
    for name in (*dimensions, ATTENTION_OFFSET, *(f"_{part}" for part in list(Part)[1:])):
        assert f"`{name}`" in PAGE, name


def anchors(page: str) -> set[str]:
    """Of the headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_links_lead_somewhere():
    links = re.findall(r"\]\(([^)#]*)(#[^)]*)?\)", PAGE)
    assert len(links) > 10
    for path, anchor in links:
        file = (ROOT / "docs" / path).resolve() if path else ROOT / "docs/metrics.md"
        assert file.is_file(), path
        if anchor:
            assert anchor[1:] in anchors(file.read_text(encoding="utf-8")), (path, anchor)
    for path in re.findall(r"`((?:tests|cosernn_tf)/[\w/.]+)`", PAGE):
        assert (ROOT / path).exists(), path
