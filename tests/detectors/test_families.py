"""A detector is one object in one tuple: a toy one added here can be named, checked, built, fitted and scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from goodshot.components.detectors import Detector, DetectorConfig, Images, Scores, build_detector, families
from goodshot.components.detectors.base import as_batches
from goodshot.components.detectors.pretrained import weight_names
from goodshot.components.errors import BadInput
from tests.detectors.photographs import texture_crops


class Brightness:
    """How far an image's mean is from that of the good ones."""

    def __init__(self, side: int, scale: float) -> None:
        self.side, self.scale, self.mean = side, scale, 0.0

    def fit(self, train: Images) -> None:
        self.mean = float(np.mean(self._means(train)))

    def score(self, images: Images) -> Scores:
        found = np.abs(self._means(images) - self.mean) * np.float32(self.scale)
        return Scores(found, np.tile(found[:, None, None], (1, self.side, self.side)))

    def _means(self, images: Images) -> NDArray[np.float32]:
        return np.array([image.mean() for batch in as_batches(images, "images") for image in batch], np.float32)


@dataclass(frozen=True, eq=False)
class Toy(families.Family):
    unread = ("coreset_ratio",)
    version = 7

    def check(self, config: DetectorConfig) -> None:
        super().check(config)
        if config.args.get("scale", 1) <= 0:
            raise BadInput(f"detector {self.name}: scale must be above 0")

    def build(self, config: DetectorConfig, seed: int, device: str, object_name: str | None) -> Detector:
        return Brightness(config.resolution, config.args.get("scale", 1))


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    own = {"backbone": None, "layers": None}
    toy = Toy("toy_brightness", default={**own, "image_size": 64}, paper={**own, "image_size": 32})
    monkeypatch.setattr(families, "FAMILIES", (*families.FAMILIES, toy))

    def asked(name: str) -> Any:
        raise AssertionError(f"anomalib was asked for {name}")

    monkeypatch.setattr(families, "find_model", asked)


def test_a_toy_family_is_named_built_fitted_and_scored() -> None:
    config = DetectorConfig(name="ToyBrightness", args={"scale": 2})
    assert (config.name, config.label, config.image_size) == ("toy_brightness", "toy_brightness", 64)
    assert weight_names(config) == ()
    crops = texture_crops("gravel", 3, 64)
    detector = build_detector(config, seed=0)
    detector.fit(crops[:2])
    dark = detector.score(np.concatenate([crops[2:], crops[2:] // 4]))
    assert dark.maps.shape == (2, 64, 64)
    assert dark.image[1] > dark.image[0]


def test_a_toy_family_has_presets_an_identity_and_rules_of_its_own() -> None:
    config = DetectorConfig(name="toy_brightness", preset="paper")
    assert config.label == "toy_brightness-paper"
    identity = config.identity()
    assert (identity["name"], identity["version"], identity["image_size"]) == ("toy_brightness", 7, 32)
    assert "coreset_ratio" not in identity
    assert config.features_identity() is None
    with pytest.raises(ValidationError, match="toy_brightness: scale must be above 0"):
        DetectorConfig(name="toy_brightness", args={"scale": 0})
    with pytest.raises(ValidationError, match="coreset_ratio is not for it"):
        DetectorConfig(name="toy_brightness", coreset_ratio=0.5)


def test_every_family_is_listed_once_and_gives_a_valid_configuration() -> None:
    names = [family.name for family in families.FAMILIES]
    assert len({*names}) == len(names)
    for name in names:
        assert DetectorConfig(name=name).family.name == name
