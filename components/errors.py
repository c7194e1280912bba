"""Errors that a user can act on: one line with the problem, the place and the remedy."""


class GoodshotError(Exception):
    """A failure whose cause a user can remove. The command line prints the message and exits with code 1."""


class BadInput(GoodshotError, ValueError):
    """An input of the user that cannot be used (a path, a file, a study's field). Exit code 2."""


class MissingWeights(BadInput):
    """A pretrained weight is not on this machine. The message says which, where it was searched, and how to get it."""
