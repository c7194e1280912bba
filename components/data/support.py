"""Which originals a detector may see: the support."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from components.errors import BadInput

Shots = int | Literal["full"]


def select_support(train_ids: Sequence[str], shots: Shots, seed: int) -> tuple[str, ...]:
    """Returns `shots` of the ids, drawn by `seed`; all of them, sorted, for "full".

    The ids are sorted before they are permuted, so their order does not matter, and the supports of one seed
    are nested: the first image of 5 shots is the image of 1 shot.

    Raises:
        BadInput: `shots` is less than one or more than there are ids, or an id comes twice.
    """
    ids = sorted(train_ids)
    if len(set(ids)) != len(ids):
        raise BadInput(f"the {len(ids)} train images hold a repeated id; give each image once")
    if shots == "full":
        return tuple(ids)
    if not 1 <= shots <= len(ids):
        raise BadInput(f"shots is {shots}, and there are {len(ids)} train images; use 1 to {len(ids)} or 'full'")
    order = np.random.default_rng(seed).permutation(len(ids))
    return tuple(ids[i] for i in order[:shots])
