"""Importing anomalib without its side effects on the process that imports it."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_import() -> Iterator[None]:
    """Silence imports inside the context, and restore the warning filters and the root logger afterwards.

    anomalib and its dependencies (Lightning, transformers, sympy) prepend warning filters, print deprecation
    warnings of their own and may add handlers to the root logger, none of which should change for the
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
