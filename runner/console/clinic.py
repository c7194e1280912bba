"""The output of ``goodshot check``: what was read of each category, and every finding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console

from goodshot.runner.data.clinic import Examined

MOST = 6
"""Maximum number of formats, of sizes and of copies named for each category."""


def facts(category: Examined) -> Iterator[tuple[str, str]]:
    """The facts about a category, each with its title."""
    splits: dict[str, list[str]] = {}
    for (split, defect_type), images in category.groups.items():
        splits.setdefault(split, []).append(f"{len(images)} {defect_type}")
    for split, counts in splits.items():
        yield split, ", ".join(counts)
    yield "files", _first([f"{count} {kind}" for kind, count in category.kinds.most_common()], "; ")
    yield "sizes", _first([f"{count} of {width}x{height}" for (width, height), count in category.sizes.most_common()])
    if shares := category.shares:
        middle = shares[len(shares) // 2]
        marked = f"{_percent(shares[0])} to {_percent(shares[-1])} of the pixels, median {_percent(middle)}"
        fine = f"; {category.too_fine} too fine for {category.side}x{category.side}" if category.too_fine else ""
        yield "masks", f"{len(shares)}, marking {marked}{fine}"
    elif any(each.sample.label for each in category.checked):
        yield "masks", "none: image metrics alone"
    if copies := category.copies:
        yield "copies", _first([_first(ids, " = ") for ids in copies], "; ")


def print_examined(console: Console, categories: Sequence[Examined]) -> None:
    """Print the facts and findings of each category, and how many findings there are in all."""
    for category in categories:
        console.print(f"{category.name} ({category.layout}): {len(category.checked)} images", style="bold")
        for title, text in facts(category):
            console.print(f"  {title:<10} {text}", highlight=False, soft_wrap=True)
        for finding in category.findings:
            console.print(f"  {finding.kind}: {finding}", highlight=False, soft_wrap=True)
    console.print(verdict(categories), highlight=False, soft_wrap=True)


def verdict(categories: Sequence[Examined]) -> str:
    """One sentence: how many findings there are, and whether a study would read the photographs."""
    findings = [finding for category in categories for finding in category.findings]
    refused = sum(finding.stops or finding.kind == "overlap" for finding in findings)
    counted = f"{len(findings)} finding{'s' * (len(findings) > 1)}" if findings else "no findings"
    if findings:
        counted += f", {refused} of which a study refuses" if refused else ", none of which stops a study"
    untested = [each.name for each in categories if all(c.sample.split != "test" for c in each.checked)]
    return counted + f"; no test images: {_first(untested)} can be learned from, and not measured" * bool(untested)


def _first(names: Sequence[str], separator: str = ", ") -> str:
    more = f"{separator}and {len(names) - MOST} more" if len(names) > MOST else ""
    return separator.join(names[:MOST]) + more


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"
