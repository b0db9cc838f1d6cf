"""The one exception for what a person can put right."""


class UserError(Exception):
    """A mistake in the input, told in one line that says what is wrong and what to do.

    The command line prints the line to stderr and exits with status 2; no traceback.
    """
