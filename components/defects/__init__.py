"""Defective images: the real ones that a study may see, and what is made from them.

`DefectImages` are images with their masks, defect types and captions, real or made. `thirds` splits a category's
defective images, `captions` reads their sentences; `supplied` reads a user's own. `foreground` finds
the product on good images, and `placing` the sites on it: a `Site` says where one image is made, on which good image,
with which mask, type and caption. `pasting` makes images without a generative model; `layouts` writes made images as
other libraries read them, `sheet` shows them. Everything here is a function of (seed, index), so that the first images
are the same however many are made. Nothing here imports torch, and scipy and scikit-image are imported where they
compute, because the driver imports it.
"""

from goodshot.components.defects.images import DefectImages, Site

__all__ = ["DefectImages", "Site"]
