"""The templates of the report."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


def render(template: str, **values: Any) -> Markup:
    """Render a template of ``runner/report/html`` as HTML; values are escaped."""
    return Markup(_environment().get_template(template).render(**values))  # noqa: S704 - escaped by the template


@cache
def _environment() -> Environment:
    loader = PackageLoader("goodshot.runner.report", "html")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["sort_key"] = _sort_key
    return environment


def _sort_key(number: float) -> str:
    return f"{number:.6g}"
