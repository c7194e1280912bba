"""``make bench``: run every benchmark of this folder, or those named, and print their ratios."""

import importlib
import sys

ALL = (
    "coreset",
    "detection",
    "expected_end",
    "generator",
    "metrics",
    "overhead",
    "reading",
    "sharing",
    "submission",
    "tracking",
)

if __name__ == "__main__":
    for name in sys.argv[1:] or ALL:
        print(importlib.import_module(f"benchmarks.{name}").main(), flush=True)
