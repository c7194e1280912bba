"""Which weights each of anomalib's models needs: what goodshot looks for is what the model's own source loads."""

import ast
import importlib.util
from pathlib import Path

import pytest

from goodshot.components.detectors import DetectorConfig
from goodshot.components.detectors.families import FAMILIES, family_of
from goodshot.components.detectors.families.anomalib_family import AnomalibFamily
from goodshot.components.detectors.models import models
from goodshot.components.detectors.pretrained import weight_names
from goodshot.components.errors import BadInput
from goodshot.components.weights import weight

ANOMALIBS = [family for family in FAMILIES if isinstance(family, AnomalibFamily)]
UNUSABLE = [family.name for family in ANOMALIBS if family.unusable]
ALWAYS = {family.name: family.fixed for family in ANOMALIBS if family.fixed is not None}
NATURAL_IMAGES = {family.name: family.natural.argument for family in FAMILIES if family.natural}


def named(name: str) -> dict[str, tuple[str, ...]]:
    family = family_of(name)
    assert isinstance(family, AnomalibFamily)
    return {**family.named}


UFLOW = named("uflow")["mcait"]
OWN = [name for name in models() if name not in UNUSABLE]


def source_of(name: str) -> str:
    spec = importlib.util.find_spec("anomalib")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "models" / "image" / name
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.py")))


@pytest.mark.parametrize("name", OWN)
def test_every_model_says_what_it_loads(name: str) -> None:
    """Each of them by a name that the registry knows; the embedded backbone where it can stand in."""
    embedded = weight_names(DetectorConfig(name=name))
    config = DetectorConfig(name=name)
    if config.backbone == "efficientnet_lite0":
        assert embedded[0] == "efficientnet_lite0"
    for found in embedded:
        assert weight(found).name == found
    drawn = weight_names(DetectorConfig(name=name, weights="random"))
    assert set(drawn) <= {"imagenette", "dtd"}


@pytest.mark.parametrize("name", [n for n in OWN if "backbone" in models()[n].arguments])
def test_a_models_own_backbone_is_what_its_source_would_take(name: str) -> None:
    own = models()[name].defaults["backbone"]
    config = DetectorConfig(name=name, backbone=own)
    expected = UFLOW if own == "mcait" else (f"{'torchvision' if name == 'cfa' else 'timm'}:{own}",)
    assert weight_names(config)[: len(expected)] == expected
    for found in expected:
        assert weight(found).files


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_model_that_cannot_be_judged_says_why(name: str) -> None:
    with pytest.raises(BadInput, match=f"detector {name}: .*; choose another model"):
        weight_names(DetectorConfig(name=name))


def test_what_is_fixed_stands_in_the_models_source() -> None:
    for name, loaded in ALWAYS.items():
        source = source_of(name)
        for found in loaded:
            last = found.rpartition(":")[2]
            assert (last if ":" in found else "vq_model_pretrained_128_4096.pckl") in source, name
    uflow = source_of("uflow")
    assert all(found.removeprefix("timm:") in uflow for found in UFLOW)
    for name, argument in NATURAL_IMAGES.items():
        assert argument in models()[name].arguments


def test_foundads_names_are_its_own_table() -> None:
    for node in ast.walk(ast.parse(source_of("foundad").replace("from __future__ import annotations", ""))):
        target = getattr(node, "targets", [getattr(node, "target", None)])[0]
        if getattr(target, "id", "") == "TIMM_MODEL_NAMES":
            assert ast.literal_eval(node.value) == {
                name: found[0].removeprefix("timm:") for name, found in named("foundad").items()
            }  # type: ignore[attr-defined]
            return
    pytest.fail("foundad holds no TIMM_MODEL_NAMES")
