"""A Python worker of a distributed runner, on a host that has this package installed.

The runner starts it, with the arguments that Beam gives to its containers: it is the command of
`--environment_type=PROCESS` (see SCALING.md).
"""

from absl import flags

from cosernn_tf import cli
from cosernn_tf.config import require

_ID = flags.DEFINE_string("id", None, "The runner's name for this worker.")
_PROVISION_ENDPOINT = flags.DEFINE_string(
    "provision_endpoint", None, "Host and port of the runner's service that tells all else."
)


def main(argv: list[str]) -> None:
    del argv  # Runners may say more, which that service tells, too.
    for flag in (_ID, _PROVISION_ENDPOINT):
        require(bool(flag.value), f"--{flag.name} is missing: a Beam runner starts this command")
    from beam_pipelines.harness import work

    work(_ID.value, _PROVISION_ENDPOINT.value)


def entry_point() -> None:
    cli.run(main, passes_unknown_flags=True)


if __name__ == "__main__":
    entry_point()
