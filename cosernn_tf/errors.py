"""The one error that a person is meant to read, and text that is safe on a line of it."""


class UserError(Exception):
    """Something that the user can mend: bad input, a bad flag, a missing or foreign file.

    The message is one line that says what was wrong, where, and what to do. Entry points print it
    and exit with code 2 (`cosernn_tf.cli.run`); any other exception is a bug and keeps its
    traceback.
    """


def on_a_line(text: str) -> str:
    """Text of a log as it may stand in a line for people: what does not print is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
