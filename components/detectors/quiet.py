"""Importing anomalib without its side effects on the process that imports it."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_import() -> Iterator[None]:
    """Silence what is imported inside, and put the warning filters and the root logger back afterwards.

    anomalib and what it pulls in (Lightning, transformers, sympy) prepend warning filters, print deprecation
    warnings of their own and may give the root logger handlers; none of that is ours to change for the
    caller. anomalib's and Lightning's loggers stay at ERROR.
    """
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        for name in ("anomalib", "lightning", "lightning.pytorch", "lightning.fabric"):
            logging.getLogger(name).setLevel(logging.ERROR)
