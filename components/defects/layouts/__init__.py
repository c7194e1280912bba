"""Layouts of made images on disk, one object a file: `LAYOUTS`. `write_layout` writes one, whole or not at all."""

from goodshot.components.defects.layouts.coco import Coco
from goodshot.components.defects.layouts.folders import Folders
from goodshot.components.defects.layouts.layout import Layout, write_layout
from goodshot.components.defects.layouts.yolo import Yolo
from goodshot.components.errors import BadInput

LAYOUTS: tuple[Layout, ...] = (Folders(), Coco(), Yolo())

__all__ = ["LAYOUTS", "Coco", "Folders", "Layout", "Yolo", "layout_of", "write_layout"]


def layout_of(name: str) -> Layout:
    """Returns the layout of this name. Raises BadInput if there is none."""
    for layout in LAYOUTS:
        if layout.name == name:
            return layout
    raise BadInput(f"no layout {name}; there are: {', '.join(layout.name for layout in LAYOUTS)}")
