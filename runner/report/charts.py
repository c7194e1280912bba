"""The style of the charts, and their conversion to Vega-Lite specifications and to files.

One Altair chart serves the page, which embeds its specification and draws it in the browser, and print, for which
vl-convert draws the same specification without a browser. Data is always inlined: nothing is loaded from elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from typing import Any, Literal

import altair as alt

from goodshot.components.errors import GoodshotError
from goodshot.components.weights import cache_dir
from goodshot.runner.store.files import Files

# The Okabe-Ito palette: its colours are distinguishable with any colour vision. Grey instead of its black, which
# cannot be seen on a dark page.
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
SKY, VERMILLION, GREY = "#56B4E9", "#D55E00", "#8c8c8c"
SERIES = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION, GREY)
Format = Literal["svg", "pdf", "png"]

CONFIG: Mapping[str, Any] = {
    "font": "system-ui, sans-serif",
    "axis": {"labelFontSize": 11, "titleFontSize": 12, "titleFontWeight": "normal", "gridOpacity": 0.35},
    "axisX": {"grid": False},
    "legend": {"labelFontSize": 11, "titleFontSize": 12, "titleFontWeight": "normal", "labelLimit": 320},
    "header": {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal"},
    "title": {"fontSize": 13, "anchor": "start"},
    "view": {"stroke": None},
    "range": {"category": list(SERIES)},
}


def data(name: str = "rows") -> alt.NamedData:
    """Return a reference to a data set that :func:`chart` adds under this name."""
    return alt.NamedData(name)


def chart(drawn: alt.TopLevelMixin, **datasets: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the Vega-Lite specification of an Altair chart, in the style of the report.

    Args:
        datasets: the data sets that the chart refers to with :func:`data`, each a sequence of rows. They are added
            here because Altair takes a second to check a thousand rows. Numbers that are not finite become null.
    """
    # Checking a specification takes longer than making it; the tests draw every chart.
    specification: dict[str, Any] = drawn.to_dict(validate=False)
    # The address of the schema, which no reader of the page needs.
    specification.pop("$schema", None)
    added = {name: [_plain(row) for row in rows] for name, rows in datasets.items()}
    return {**specification, "config": dict(CONFIG), "datasets": {**specification.get("datasets", {}), **added}}


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in row.items()}


def series_colours(labels: Sequence[str]) -> alt.Scale:
    """Return a colour for each label; more labels than named colours get a continuous scheme."""
    if len(labels) <= len(SERIES):
        return alt.Scale(domain=list(labels), range=list(SERIES[: len(labels)]))
    return alt.Scale(domain=list(labels), scheme="viridis")


def spread(values: Iterable[float], **options: Any) -> alt.Scale:
    """Return a scale over the values, not from 0; around values that are all equal, so that its ticks name them."""
    distinct = {round(value, 9) for value in values if math.isfinite(value)}
    if len(distinct) != 1:
        return alt.Scale(zero=False, **options)
    (value,) = distinct
    margin = 0.1 * abs(value) or 0.1
    return alt.Scale(domain=[value - margin, value + margin], zero=False, **options)


def drawn_as(specification: Mapping[str, Any], format: Format) -> bytes:
    """Draw a specification as an SVG, PDF or PNG file (PNG: two pixels for each unit of length)."""
    import vl_convert

    if format == "svg":
        svg: str = vl_convert.vegalite_to_svg(dict(specification))
        return svg.encode()
    if format == "pdf":
        pdf: bytes = vl_convert.vegalite_to_pdf(dict(specification))
        return pdf
    png: bytes = vl_convert.vegalite_to_png(dict(specification), scale=2)
    return png


@cache
def drawing_script() -> str:
    """Return a script that sets ``window.vegaEmbed``, with Vega and Vega-Lite inside; about 0.9 MB.

    vl-convert takes seconds to bundle it, so it is kept in the user's cache.
    """
    import vl_convert

    files, name = Files(str(cache_dir() / "report")), f"vega-embed-{version('vl-convert-python')}.js"
    with suppress(OSError, GoodshotError):
        return files.read(name).decode()
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    # The bundle is a module without imports; inside a function it is an ordinary script, which runs at once.
    script = f'(function(){{"use strict";{bundle}}})();'
    # A cache that cannot be written only costs the next report these seconds again.
    with suppress(OSError, GoodshotError):
        files.write(name, script.encode())
    return script
