"""Flags of `cosernn_tf.train` that hold for many runs: those of a flagfile, and those given."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Final

from cosernn_tf.config import require

OF_A_RUN: Final = ("run", "seed", "workspace", "flagfile")
"""Flags that each run has of its own."""


def training_flags(base: Path, given: Sequence[str], *, own: Collection[str]) -> tuple[str, ...]:
    """Flags that hold for all runs alike.

    Args:
        base: A flagfile, which may name others; what runs have of their own is passed over.
        given: Flags that override those of the file.
        own: Names of flags that runs have of their own.

    Raises:
        UserError: There is no such file; what is given is no flag, or one that runs have of their
            own.
    """
    require(base.is_file(), f"--base={base} does not exist")
    for flag in given:
        require(
            flag.startswith("--"),
            f"unexpected argument {flag!r}: every argument is a --flag=value (see --help)",
        )
        name = flag_name(flag)
        require(name not in own, f"{flag} cannot be given: each row or run has its own --{name}")
    flags = [flag for flag in _all_flags(base) if flag_name(flag) not in own]
    return tuple({flag_name(flag): flag for flag in (*flags, *given)}.values())


def flags_in(flagfile: Path) -> list[str]:
    """The flags of a flagfile, without those of a flagfile that it names."""
    lines = (line.strip() for line in flagfile.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line.startswith("--")]


def _all_flags(flagfile: Path) -> Iterator[str]:
    for flag in flags_in(flagfile):
        if flag_name(flag) == "flagfile":
            other = Path(flag.partition("=")[2])
            require(other.is_file(), f"{flagfile} names {other}, which does not exist")
            yield from _all_flags(other)
        else:
            yield flag


def flag_name(flag: str) -> str:
    return flag.lstrip("-").partition("=")[0]
