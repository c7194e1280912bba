"""Defective images without a generative model: what a generated one has to be better than.

`PASTERS` lists them, one object a file; `paste` makes many images by one of them.
"""

from goodshot.components.defects.pasting.crop_paste import CropPaste
from goodshot.components.defects.pasting.cutpaste import CutPaste
from goodshot.components.defects.pasting.draem import Draem
from goodshot.components.defects.pasting.making import paste, sites_of
from goodshot.components.defects.pasting.paster import Paster
from goodshot.components.errors import BadInput

PASTERS: tuple[Paster, ...] = (CropPaste(), CutPaste(), Draem())

__all__ = ["PASTERS", "CropPaste", "CutPaste", "Draem", "Paster", "paste", "paster_of", "sites_of"]


def paster_of(name: str) -> Paster:
    """Returns the paster of this name. Raises BadInput if there is none."""
    for paster in PASTERS:
        if paster.name == name:
            return paster
    raise BadInput(f"no way {name} to paste defects; there are: {', '.join(paster.name for paster in PASTERS)}")
