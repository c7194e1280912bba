"""Any model of anomalib by its name: parity with its Engine on the same images and seed, and nothing of the test in it.

Weights that cannot be had here are random and seeded: enough to compare two ways of running one model, never a result.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError
from torch.utils.data import DataLoader

from components.detectors import DetectorConfig, Scores, build_detector
from components.detectors.anomalib_model import AnomalibDetector, everything_seeded
from components.detectors.models import find_model, models
from components.detectors.presets import EFFICIENT_AD
from components.detectors.training_data import batches
from components.errors import BadInput, GoodshotError, MissingWeights
from tests.detectors.photographs import texture_crops

SIZE = 96
RESNET = {"backbone": "resnet18", "layers": ["layer1", "layer2", "layer3"]}
CONFIGS = {
    "padim": {"args": {"n_features": 20}},
    "cflow": {"args": {"coupling_blocks": 2, "fiber_batch_size": 32}, "steps": 3, "batch_size": 2},
    "reverse_distillation": {**RESNET, "steps": 3, "batch_size": 2},
    "stfpm": {**RESNET, "steps": 3, "batch_size": 2},
    "efficient_ad": {"backbone": None, "layers": None, "steps": 2, "batch_size": 1},
}


@pytest.fixture(scope="module")
def crops() -> NDArray[np.uint8]:
    # Larger than the detectors' input, so that the resize takes part.
    return texture_crops("gravel", 7, 128)


@pytest.fixture(autouse=True)
def _random_weights(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No downloads: backbones that are not embedded keep their first, seeded weights; so does EfficientAD's teacher."""
    import timm

    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda *a, **k: create(*a, **{**k, "pretrained": False}))
    module = importlib.import_module(find_model(EFFICIENT_AD).module)
    monkeypatch.setattr(module.EfficientAd, "prepare_pretrained_model", lambda self: None)


@pytest.fixture(scope="module")
def natural(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image folder in place of ImageNette."""
    folder = tmp_path_factory.mktemp("natural") / "stones"
    folder.mkdir()
    for i, image in enumerate(texture_crops("brick", 3, 128)):
        Image.fromarray(image).save(folder / f"{i}.png")
    return folder.parent


def config_of(name: str, natural: Path) -> DetectorConfig:
    fields = dict(CONFIGS[name])
    if name == EFFICIENT_AD:
        fields["args"] = {"imagenet_dir": str(natural)}
    # EfficientAD's autoencoder has a kernel that smaller images do not fill.
    return DetectorConfig(name=name, image_size=256 if name == EFFICIENT_AD else SIZE, **fields)


def fitted_by_the_engine(config: DetectorConfig, train: NDArray[np.uint8], seed: int, folder: Path) -> Any:
    """anomalib's own way: its module with its preprocessor, its Engine, its batches; same order and seed."""
    from anomalib.data import ImageBatch
    from anomalib.engine import Engine
    from lightning.pytorch import LightningDataModule

    from components.weights import efficientnet_lite0_state_dict

    raw = torch.from_numpy(train).permute(0, 3, 1, 2).float() / 255
    model = find_model(config.name)
    arguments: dict[str, Any] = dict(config.args)
    if "backbone" in model.arguments:
        embedded = config.backbone == "efficientnet_lite0"
        arguments |= {"backbone": "tf_efficientnet_lite0" if embedded else config.backbone}
        arguments |= {"layers": list(config.layers or ())}
        arguments |= {"pre_trained": False} if "pre_trained" in model.arguments else {}

    class Data(LightningDataModule):
        name, category, train_batch_size = "gravel", "crops", config.batch_size

        def loader(self, order: list[list[int]]) -> DataLoader[Any]:
            def collate(items: list[torch.Tensor]) -> ImageBatch:
                return ImageBatch(image=torch.stack(items), gt_label=torch.zeros(len(items), dtype=torch.bool))

            return DataLoader(list(raw), batch_sampler=order, collate_fn=collate)  # type: ignore[arg-type]

        def train_dataloader(self) -> DataLoader[Any]:
            return self.loader(batches(len(raw), config, seed))

    with everything_seeded(seed, torch.device("cpu")):
        cls = getattr(importlib.import_module(model.module), model.cls)
        pre_processor = cls.configure_pre_processor((config.image_size, config.image_size))
        module = cls(**arguments, pre_processor=pre_processor, post_processor=False, evaluator=False, visualizer=False)
    if arguments.get("backbone") == "tf_efficientnet_lite0":
        extractor = module.model.encoder if config.name == "cflow" else module.model.feature_extractor
        extractor.feature_extractor.load_state_dict(efficientnet_lite0_state_dict(), strict=False)
    data = Data()
    if config.name == EFFICIENT_AD:
        measure = module.teacher_channel_mean_std

        def once(loader: Any) -> Any:
            # The Engine leaves the images of this loader as they are; what it trains on is resized.
            found = list(data.loader([[i] for i in range(len(raw))]))
            for batch in found:
                batch.image = pre_processor.transform(batch.image)
            return measure(found)

        module.teacher_channel_mean_std = once
    engine = Engine(
        max_epochs=1, limit_val_batches=0, barebones=True, accelerator="cpu", devices=1, default_root_dir=folder
    )
    with everything_seeded(seed, torch.device("cpu")):
        engine.fit(module, datamodule=data)
        if config.name == EFFICIENT_AD:
            module.eval()
            good = list(data.loader([[i] for i in range(len(raw))]))
            for batch in good:
                batch.image = pre_processor.transform(batch.image)
            module.model.quantiles.update(module.map_norm_quantiles(good))
    return module.eval()


@pytest.mark.parametrize("name", CONFIGS)
def test_maps_and_scores_are_those_of_anomalibs_engine(
    name: str, crops: NDArray[np.uint8], natural: Path, tmp_path: Path
) -> None:
    config = config_of(name, natural)
    if name == EFFICIENT_AD:
        # anomalib crops the natural images to the size that files have before its preprocessor; so let them be equal.
        crops = texture_crops("gravel", 7, config.image_size)
    ours = build_detector(config, seed=5)
    ours.fit(crops[:4])
    scores = ours.score(crops[4:])
    module = fitted_by_the_engine(config, crops[:4], 5, tmp_path)
    # What its Engine applies to a batch; calling the preprocessor itself applies a copy without antialiasing.
    size = config.image_size
    transform = type(module).configure_pre_processor((size, size)).transform
    with torch.no_grad():
        for i, image in enumerate(crops[4:]):
            output = module.model(transform(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255))
            np.testing.assert_allclose(scores.maps[i], output.anomaly_map.reshape(size, size), atol=1e-4, rtol=1e-4)
            np.testing.assert_allclose(scores.image[i], output.pred_score.item(), atol=1e-4, rtol=1e-4)


def state(detector: AnomalibDetector) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in detector.module.state_dict().items()}


@pytest.mark.parametrize("name", ["padim", "cflow", pytest.param("efficient_ad", marks=pytest.mark.slow)])
def test_no_test_image_changes_what_was_fitted(name: str, crops: NDArray[np.uint8], natural: Path) -> None:
    first, second = (build_detector(config_of(name, natural), seed=1) for _ in range(2))
    assert isinstance(first, AnomalibDetector)
    assert isinstance(second, AnomalibDetector)
    first.fit(crops[:3])
    second.fit(crops[:3])
    before: Scores = second.score(crops[5:])
    first.score(255 - crops[3:5])
    after = first.score(crops[5:])
    np.testing.assert_array_equal(before.maps, after.maps)
    assert all(torch.equal(value, state(second)[key]) for key, value in state(first).items())


def test_fitting_again_forgets_the_first_images(crops: NDArray[np.uint8], natural: Path) -> None:
    config = config_of("cflow", natural)
    again, once = build_detector(config, seed=0), build_detector(config, seed=0)
    again.fit(crops[3:6])
    again.fit(crops[:3])
    once.fit(crops[:3])
    np.testing.assert_array_equal(again.score(crops[6:]).maps, once.score(crops[6:]).maps)


def test_steps_are_shuffled_passes_of_full_batches() -> None:
    config = DetectorConfig(name="cflow", steps=5, batch_size=3)
    found = batches(4, config, seed=0)
    assert [len(batch) for batch in found] == [3] * 5
    flat = [i for batch in found for i in batch]
    assert all(sorted(flat[i : i + 4]) == [0, 1, 2, 3] for i in (0, 4, 8))
    assert batches(4, DetectorConfig(name="padim", batch_size=3), seed=0) == [[0, 1, 2], [3]]


def test_anomalibs_models_are_found_by_name() -> None:
    assert {"patchcore", "cflow", "reverse_distillation", "efficient_ad", "winclip", "anomaly_dino"} <= models().keys()
    assert find_model("EfficientAd").name == "efficient_ad"
    for name, model in models().items():
        assert hasattr(importlib.import_module(model.module), model.cls), name


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "cflw"}, "anomalib has no such model; did you mean cflow"),
        (
            {"name": "cflow", "args": {"coupling_block": 4}},
            "no argument 'coupling_block'; did you mean coupling_blocks",
        ),
        ({"name": "cflow", "args": {"backbone": "resnet18"}}, "backbone is a field of the detector"),
        ({"name": "cflow", "coreset_ratio": 0.1}, "coreset_ratio is not for it"),
        ({"name": "patchcore", "steps": 10}, "steps is not for it"),
        ({"name": "efficient_ad"}, "set batch_size: 1"),
    ],
)
def test_wrong_configurations_are_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DetectorConfig(**fields)


def test_what_a_model_refuses_is_one_line(crops: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match="padim-lite0: refuses its arguments"):
        build_detector(DetectorConfig(name="padim", args={"n_features": 10**6}), seed=0)
    with pytest.raises(BadInput, match="stfpm-lite0: fetches its backbone itself"):
        build_detector(DetectorConfig(name="stfpm"), seed=0)
    detector = build_detector(DetectorConfig(name="padim", image_size=32, args={"n_features": 5}), seed=0)
    with pytest.raises(GoodshotError, match="not fitted"):
        detector.score(crops[:1])
    with pytest.raises(BadInput, match="no image"):
        detector.fit([])


def test_missing_weights_say_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    def offline(*arguments: Any, **options: Any) -> None:
        raise OSError("cannot find resnet18 in the local cache")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(
        MissingWeights, match=r"stfpm-resnet18: its pretrained weights are not .* \(cannot find resnet18"
    ):
        build_detector(DetectorConfig(name="stfpm", **RESNET), seed=0)
