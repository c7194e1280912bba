"""The two presets: complete settings of a detector under one name; fields that a user gives take precedence.

`paper` approximates the baselines of the TGI paper, as far as they are known: the defaults of anomalib's early
configurations (version 0.5 and before), whose numbers the paper's tables repeat. Their early stopping is left out,
because it watched a metric of the test images.

`default` is a budget that two CPU cores train in at most two to three minutes from one image, on the embedded backbone.
The budgets are the same for all categories, chosen by their duration and by where the training loss flattens, never by
a test label.

The values of both presets are in each detector's family (`families/`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from goodshot.components.detectors import families
from goodshot.components.errors import BadInput

Preset = Literal["default", "paper"]

# A field given by the user keeps the preset from filling fields that only fit the preset's own value of it.
_TOGETHER = {"steps": ("epochs",), "epochs": ("steps",), "backbone": ("layers",), "image_size": ("crop",)}


def fill_detector_fields(values: Mapping[str, Any], family: families.Family) -> dict[str, Any]:
    """A detector's fields as given, and those not given from its preset.

    Given fields and arguments in `args` take precedence. Raises `BadInput` if the family has no such preset.
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
    return family.defaults() if word == "default" else {}  # the field's own type refuses another word
