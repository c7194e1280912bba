"""The support: the originals that a detector may be trained on."""

import difflib
from collections.abc import Sequence
from typing import Literal

import numpy as np

from goodshot.components.errors import BadInput

Shots = int | Literal["full"] | tuple[str, ...]
"""A number of originals, "full" for all of them, or a list of ids."""


def select_support(train_ids: Sequence[str], shots: Shots, seed: int) -> tuple[str, ...]:
    """Returns `shots` of the ids, drawn by `seed`; all of them, sorted, for "full"; a list of ids unchanged.

    The ids are sorted before they are permuted, so their order does not matter, and the supports of one seed
    are nested: the first image of 5 shots is the image of 1 shot.

    Raises:
        BadInput: `shots` is less than one or more than there are ids, or contains an id that does not exist or is
        repeated.
    """
    ids = sorted(train_ids)
    if len(set(ids)) != len(ids):
        raise BadInput(f"the {len(ids)} train images hold a repeated id; give each image once")
    if shots == "full":
        return tuple(ids)
    if isinstance(shots, tuple):
        _check_chosen(shots, ids)
        return shots
    if not 1 <= shots <= len(ids):
        raise BadInput(f"shots is {shots}, and there are {len(ids)} train images; use 1 to {len(ids)} or 'full'")
    order = np.random.default_rng(seed).permutation(len(ids))
    return tuple(ids[i] for i in order[:shots])


def _check_chosen(chosen: tuple[str, ...], ids: list[str]) -> None:
    for image_id in chosen:
        if image_id not in ids:
            near = difflib.get_close_matches(image_id, ids, n=1)
            hint = f"did you mean {near[0]}?" if near else f"write them like {ids[0]}"
            raise BadInput(f"support: no train image {image_id} among the {len(ids)}; {hint}")
    if not chosen or len(set(chosen)) != len(chosen):
        raise BadInput("support: give at least one image, and each once")
