"""The processes that train together, as TF_CONFIG has them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cosernn_tf.errors import UserError

TF_CONFIG: Final = "TF_CONFIG"
_EXAMPLE: Final = (
    '{"cluster": {"worker": ["host-a:5000", "host-b:5000"]}, '
    '"task": {"type": "worker", "index": 0}}'
)


@dataclass(frozen=True)
class Cluster:
    """Of `num_workers` processes this is the one of that number; 0 is the chief."""

    num_workers: int
    worker: int


def read_cluster(environment: Mapping[str, str]) -> Cluster:
    """What the variable TF_CONFIG says.

    Raises:
        UserError: There is none, or it is not one of workers alone.
    """
    text = environment.get(TF_CONFIG)
    if not text:
        raise UserError(
            f"--strategy=multi_worker needs the environment variable {TF_CONFIG} in every process, "
            f"like {_EXAMPLE} in the first one"
        )
    try:
        fields = json.loads(text)
        cluster, task = fields["cluster"], fields["task"]
        chiefs, workers = list(cluster.get("chief", [])), list(cluster.get("worker", []))
        others = sorted(cluster.keys() - {"chief", "worker"})
        kind, index = str(task["type"]), int(task["index"])
        addresses = [*chiefs, *workers]
        number = index + (len(chiefs) if kind == "worker" else 0)
        among = {"chief": chiefs, "worker": workers}[kind]
        is_one = 0 <= index < len(among) and len(chiefs) <= 1
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{TF_CONFIG}={text} cannot be read: give one like {_EXAMPLE}") from error
    if others:
        raise UserError(
            f"{TF_CONFIG} has {', '.join(others)}: --strategy=multi_worker knows chief and worker"
        )
    if not is_one or len(set(addresses)) < len(addresses):
        raise UserError(
            f"{TF_CONFIG} has {len(chiefs)} chief and {len(workers)} worker addresses, but this "
            f"task is {kind} {index}: every process has an address and a task of its own"
        )
    return Cluster(len(addresses), number)


ALONE: Final = Cluster(num_workers=1, worker=0)
