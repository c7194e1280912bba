"""Errors a user can act on: one line that says what, where, and the remedy."""


class GoodshotError(Exception):
    """Something failed for a reason a user can act on. The command line prints it and exits with 1."""


class BadInput(GoodshotError, ValueError):
    """The user's input cannot be used (a path, a file, a study's field). Exit code 2."""


class MissingWeights(BadInput):
    """A pretrained weight is not on this machine. The message names it, where it was looked for and how to get it."""
