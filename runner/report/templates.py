"""The templates of the report, and their filters that format numbers."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from goodshot.runner.console.terminal import difference, mean_std_text, record, seeds_note, verdict


def render(template: str, **values: Any) -> str:
    """Render a template below ``runner/report`` as HTML; values are escaped."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    loader = PackageLoader("goodshot.runner.report", ".")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters |= {"mean_std": mean_std_text, "difference": difference, "seeds": seeds_note}
    environment.filters |= {"record": record, "verdict": verdict}
    return environment
