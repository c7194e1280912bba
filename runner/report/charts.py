"""The style of the charts, and their conversion to Vega-Lite specifications and to files.

One Altair chart serves the page, which embeds its specification and draws it in the browser, and print, for which
vl-convert draws the same specification without a browser. Data is always inlined: nothing is loaded from elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import altair as alt

# The Okabe-Ito palette: its colours are distinguishable with any colour vision.
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
SKY, VERMILLION, BLACK = "#56B4E9", "#D55E00", "#000000"
SERIES = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION, BLACK)
Format = Literal["svg", "pdf", "png"]

CONFIG: Mapping[str, Any] = {
    "font": "system-ui, sans-serif",
    "axis": {"labelFontSize": 11, "titleFontSize": 12, "titleFontWeight": "normal", "gridOpacity": 0.35},
    "legend": {"labelFontSize": 11, "titleFontSize": 12, "titleFontWeight": "normal", "labelLimit": 320},
    "header": {"labelFontSize": 12, "titleFontSize": 12},
    "title": {"fontSize": 13, "anchor": "start"},
    "view": {"stroke": None},
    "range": {"category": list(SERIES)},
}


def chart(drawn: alt.TopLevelMixin) -> dict[str, Any]:
    """Return the Vega-Lite specification of an Altair chart, in the style of the report."""
    import altair as alt

    with alt.data_transformers.enable("default", max_rows=None):
        specification: dict[str, Any] = drawn.to_dict()
    # Altair writes the address of the schema, which no reader of the page needs.
    specification.pop("$schema", None)
    return {**specification, "config": {**specification.get("config", {}), **CONFIG}}


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
    """Vega, Vega-Lite and vega-embed as one JavaScript module that sets ``window.vegaEmbed``; about 0.9 MB."""
    import vl_convert

    script: str = vl_convert.javascript_bundle()
    return script
