"""The two presets: whole settings of a detector under one word, which a user's own fields then override.

`paper` is what the TGI paper's baselines ran with, as far as anyone can know: the defaults of anomalib's early
configurations (version 0.5 and before), whose numbers the paper's tables repeat. Their early stopping is left out: it
watched a metric of the test images.

`default` is what two CPU cores train in at most two to three minutes from one image, on the embedded backbone. The
budgets are one set for all categories, chosen by the time they take and by where the training loss flattens, never by
a test label.

What either fills in stands in each detector's family (`families/`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from components.detectors import families
from components.errors import BadInput

Preset = Literal["default", "paper"]

# A field given by the user keeps the preset from filling those that only make sense together with its own value.
_TOGETHER = {"steps": ("epochs",), "epochs": ("steps",), "backbone": ("layers",), "image_size": ("crop",)}


def filled(values: Mapping[str, Any], family: families.Family) -> dict[str, Any]:
    """A detector's fields as given, and those not given from its preset.

    A field that is given wins, as does an argument in `args`. Raises `BadInput` where the family has no such preset.
    """
    preset = _preset(values.get("preset", "default"), family)
    kept = {field for given in values for field in (given, *_TOGETHER.get(given, ()))}
    found = {**{field: value for field, value in preset.items() if field not in kept}, **values}
    if isinstance(values.get("args", {}), dict):
        found["args"] = {**preset.get("args", {}), **values.get("args", {})}
    return family.completed(found)


def _preset(word: object, family: families.Family) -> Mapping[str, Any]:
    if word == "paper":
        if not family.paper:
            known = ", ".join(other.name for other in families.FAMILIES if other.paper)
            raise BadInput(f"detector {family.name}: has no preset paper; those that do: {known}")
        return family.paper
    return family.defaults() if word == "default" else {}  # another word is refused by the field itself
