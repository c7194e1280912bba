"""Defective images: the real ones that a study may see, and those that are made from them.

`DefectImages` are images with their masks, defect types and captions, real or made. `thirds` splits a category's
defective images. A `Site` says where one image is made: on which good image, with which mask, type and caption.
Everything here is a function of (seed, index), so that the first images are the same however many are made.
"""

from goodshot.components.defects.images import DefectImages, Site

__all__ = ["DefectImages", "Site"]
