"""The one error that a person is meant to read."""


class UserError(Exception):
    """Something that the user can mend: bad input, a bad flag, a missing or foreign file.

    The message is one line that says what was wrong, where, and what to do. Entry points print it
    and exit with code 2 (`cosernn_tf.cli.run`); any other exception is a bug and keeps its
    traceback.
    """
