"""The photographs of a cell and the images that were added to them, read from the store."""

from __future__ import annotations

import numpy as np

from goodshot.components.data.shards import SUFFIX, decode_originals, read_split
from goodshot.runner.cells.base import pictures_key
from goodshot.runner.results.record import CellRecord
from goodshot.runner.store.artifacts import Store


def original_images(store: Store, cell: CellRecord, most: int) -> list[np.ndarray]:
    """Return at most ``most`` originals of a cell's support, the first ones, uint8 (H, W, 3) each."""
    shard = store.get(cell.shard)
    path = shard.path(f"train{SUFFIX}")
    table = read_split(path, columns=["image"], image_ids=cell.support_ids[:most], filesystem=shard.filesystem)
    return list(decode_originals(table))


def added_images(store: Store, cell: CellRecord) -> np.ndarray | None:
    """Return the added images of a cell, uint8 (M, H, W, 3): its image set, or the first images that the cell made.

    Returns None if the cell made its images itself and kept none.
    """
    if cell.image_set:
        return store.get(cell.image_set).arrays("images.safetensors")["images"]
    key = pictures_key(cell.fingerprint)
    if not cell.has_maps or not store.has(key):
        return None
    return store.get(key).arrays("maps.safetensors").get("added")
