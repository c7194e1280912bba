"""Defective images without a generative model, the baselines for generated ones.

Each paster is an object in a file of its own; `paste` makes many images by one paster.
"""

from goodshot.components.defects.pasting.crop_paste import CropPaste
from goodshot.components.defects.pasting.cutpaste import CutPaste
from goodshot.components.defects.pasting.draem import Draem
from goodshot.components.defects.pasting.making import paste, sites_of
from goodshot.components.defects.pasting.paster import Paster

__all__ = ["CropPaste", "CutPaste", "Draem", "Paster", "paste", "sites_of"]
