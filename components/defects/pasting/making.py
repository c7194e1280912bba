"""Many defective images by one paster."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from goodshot.components.defects.images import DefectImages, Site
from goodshot.components.defects.pasting.paster import RGB, Mask, Paster
from goodshot.components.defects.placing import DEFAULT_PLACING, PlacingConfig, free_sites, sites
from goodshot.components.errors import BadInput


def paste(
    paster: Paster,
    goods: RGB,
    products: Mask,
    defects: DefectImages | None,
    indices: Sequence[int],
    seed: int,
    caption: str,
    config: PlacingConfig = DEFAULT_PLACING,
    where: Sequence[Site] | None = None,
) -> DefectImages:
    """Returns the images of these indices; each is a function of (seed, index) and of the paster's inputs.

    goods: uint8 (K, S, S, 3). products: bool (K, S, S), their product's area (`foreground`). defects: real defective
        images of the training third. If the paster uses real defects, types take turns (`placing`) and
        an image has its source's caption; otherwise an image's type is the paster's name.
    caption: the caption of images whose paster uses no real defects.
    where: the images' sites, if `sites_of` has already computed them.

    Raises:
        BadInput: the paster needs real defects, and there is none.
    """
    if not paster.needs_defects:
        defects = None
    elif not defects:
        raise BadInput(f"{paster.name}: there is no defective image to take defects from; add some, or use cutpaste")
    if where is None:
        where = sites_of(paster, products, defects, indices, seed, config)
    made = [
        paster.make(goods, defects, site, np.random.default_rng([seed, 0x9A57E, index]))
        for index, site in zip(indices, where, strict=True)
    ]
    side = goods.shape[1]
    return DefectImages(
        np.array([image for image, _ in made], dtype=np.uint8).reshape(-1, side, side, 3),
        np.array([mask for _, mask in made], dtype=np.bool_).reshape(-1, side, side),
        tuple(paster.name if defects is None else defects.types[site.source] for site in where),
        tuple(caption if defects is None else defects.captions[site.source] for site in where),
    )


def sites_of(
    paster: Paster,
    products: Mask,
    defects: DefectImages | None,
    indices: Sequence[int],
    seed: int,
    config: PlacingConfig = DEFAULT_PLACING,
) -> Sequence[Site]:
    """Returns the sites at which `paste` makes these images."""
    if paster.needs_defects and defects is not None:
        return tuple(sites(products, defects, indices, seed, config))
    return tuple(free_sites(products, indices, seed))
