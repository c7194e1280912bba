"""The page of ``goodshot check``: the facts and findings of each category, and its photographs with their masks."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from goodshot.components.data.checking import Checked
from goodshot.components.data.images import decode_mask, decode_rgb
from goodshot.runner.console.clinic import facts, verdict
from goodshot.runner.data.clinic import Examined
from goodshot.runner.report.pictures import OUTLINE, data_uri, edge
from goodshot.runner.report.templates import render

SHOWN = 8
"""Maximum number of photographs shown for each defect type."""
SIDE = 236
"""The longer side of a photograph on the page, in pixels; it is drawn at half of it, for dense screens."""


@dataclass(frozen=True)
class Strip:
    """The first photographs of a defect type, each with its id and its picture as a data URI."""

    split: str
    defect_type: str
    count: int
    pictures: Sequence[tuple[str, str]]


def clinic_page(categories: Sequence[Examined], folder: str) -> str:
    """Return the page as HTML that loads no other file. ``folder`` is its title."""
    shown = [(category, list(facts(category)), _strips(category)) for category in categories]
    return render("clinic.html.j2", folder=folder, categories=shown, verdict=verdict(categories))


def _strips(category: Examined) -> list[Strip]:
    return [
        Strip(split, defect_type, len(images), [(c.sample.image_id, _picture(c)) for c in images[:SHOWN]])
        for (split, defect_type), images in category.groups.items()
    ]


def _picture(checked: Checked) -> str:
    """A photograph with the outlines of its masks, as a data URI."""
    sample = checked.sample
    photograph = Image.fromarray(decode_rgb(sample.image_path.read_bytes(), white=sample.white))
    photograph.thumbnail((SIDE, SIDE))
    for mask in sample.masks:
        marked = decode_mask(mask.path.read_bytes(), None, mask.defect_id, mask.orientation)
        photograph.paste(OUTLINE, mask=edge(marked, photograph.size))
    encoded = io.BytesIO()
    photograph.save(encoded, "WEBP", quality=85)
    return data_uri(encoded.getvalue(), "webp")
