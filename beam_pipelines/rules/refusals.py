"""When a log has too many bad rows to be believed, and what is said of them."""

from collections.abc import Iterator, Mapping
from typing import Final

from beam_pipelines.rules.late import TOO_LATE
from beam_pipelines.rules.rows import NOT_A_TRACK
from beam_pipelines.rules.tally import READ, REJECTED, REJECTED_USERS, USERS_READ, Example, Tally
from cosernn_tf.errors import on_a_line

_REASONS_SHOWN: Final = 3
_CHARACTERS_SHOWN: Final = 240


def too_many_bad(
    tally: Tally, *, limit: float, listens: str, users: str | None, rejected: str
) -> Iterator[str]:
    """A refusal for the listens, and one for the users, of which more than `limit` are bad.

    Rows that are no music (`not_a_track`) are not bad and do not count. A share of exactly `limit`
    is fine.

    Args:
        tally: Of everything that was read.
        limit: From 0 to 1.
        listens: Where they come from, for the message.
        users: Likewise.
        rejected: Where a run that goes on keeps the rejected rows.
    """
    for flag, read, reasons in (
        (f"--listens={listens}", READ, rejected_listens(tally.counters)),
        (f"--users={users}", USERS_READ, rejected_users(tally.counters)),
    ):
        bad = {name: number for name, number in reasons.items() if name != NOT_A_TRACK}
        rows = tally.counters.get(read, 0) - reasons.get(NOT_A_TRACK, 0)
        total = sum(bad.values())
        # The division is rounded correctly, and so is the flag: equal shares are equal numbers.
        if total and total / rows > limit:
            yield (
                f"{total:,} of {rows:,} rows of {flag} are bad, more than "
                f"--max_bad_fraction={limit:g} allows: {described(tally, bad)}; mend them, or give "
                f"--max_bad_fraction=1 to keep the other rows and look at the bad ones in "
                f"{rejected}"
            )


def has_listens(tally: Tally) -> bool:
    """Whether some row that was read is a listen, if one that comes too late."""
    bad = sum(n for reason, n in rejected_listens(tally.counters).items() if reason != TOO_LATE)
    return tally.counters.get(READ, 0) > bad


def nothing_kept(tally: Tally, *, listens: str) -> str:
    """Why a log has no listen at all."""
    reasons = rejected_listens(tally.counters)
    if not reasons:
        return f"--listens={listens} has no rows: there is nothing to read"
    return (
        f"all {tally.counters[READ]:,} rows of --listens={listens} were rejected: "
        f"{described(tally, reasons)}"
    )


def rejected_listens(counters: Mapping[str, int]) -> dict[str, int]:
    """Rejected listens by reason."""
    return _rejected(counters, of_users=False)


def rejected_users(counters: Mapping[str, int]) -> dict[str, int]:
    """Rejected rows of users by reason."""
    return _rejected(counters, of_users=True)


def _rejected(counters: Mapping[str, int], *, of_users: bool) -> dict[str, int]:
    return {
        name.removeprefix(REJECTED): number
        for name, number in counters.items()
        if number and name.startswith(REJECTED) and name.startswith(REJECTED_USERS) == of_users
    }


def described(tally: Tally, reasons: Mapping[str, int]) -> str:
    """The reasons, the most frequent first, with an example of each of the first few."""
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    parts = [
        f"{number:,} {reason} (the first: {_shown(reason, tally.examples[REJECTED + reason])})"
        for reason, number in ordered[:_REASONS_SHOWN]
    ]
    return ", ".join(
        parts + [f"{number:,} {reason}" for reason, number in ordered[_REASONS_SHOWN:]]
    )


def _shown(reason: str, example: Example) -> str:
    is_of_time = reason == "timestamp_out_of_range"
    hint = "; timestamps are UTC seconds, not milliseconds" * is_of_time
    return f"{example.file}, row {example.row:,}: {example.content}{hint}"


def example_of(file: str, row: int, content: str) -> Example:
    """An example on one line, whatever the row holds."""
    more = "…" * (len(content) > _CHARACTERS_SHOWN)
    return Example(file, row, on_a_line(content[:_CHARACTERS_SHOWN]) + more)
