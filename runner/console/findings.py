"""The findings about the photographs of a study, and the skipped files, as a few lines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from rich.console import Console

from goodshot.components.data.layout import Finding

SHOWN = 3
"""Maximum number of findings of one kind shown for each category."""


def print_findings(console: Console, categories: Iterable[tuple[str, Iterable[Finding]]]) -> None:
    """Print each category's first findings of each kind, and how many more there are.

    Args:
        categories: the name of each category, with its findings.
    """
    for name, findings in categories:
        by_kind: defaultdict[str, list[Finding]] = defaultdict(list)
        for finding in findings:
            by_kind[finding.kind].append(finding)
        for kind, of_kind in by_kind.items():
            for finding in of_kind[:SHOWN]:
                console.print(f"{kind}: {finding}", highlight=False, markup=False, soft_wrap=True)
            if (more := len(of_kind) - SHOWN) > 0:
                line = f"{kind}: {more} more in {name}; goodshot check lists all"
                console.print(line, highlight=False, markup=False, soft_wrap=True)
