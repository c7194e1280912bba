"""WinCLIP and AnomalyDINO by name: as anomalib's own classes, on seeded random weights, and nothing fetched."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from goodshot.components.detectors import DetectorConfig, SharesFeatures, build_detector
from goodshot.components.detectors.anomalib_model import everything_seeded
from goodshot.components.detectors.families.winclip import WINCLIP
from goodshot.components.detectors.pretrained import check_weights
from goodshot.components.errors import BadInput, MissingWeights
from tests.detectors.by_the_engine import CPU, as_tensor, by_the_engine, untrained
from tests.detectors.photographs import texture_crops


@pytest.fixture(scope="module")
def crops() -> NDArray[np.uint8]:
    return texture_crops("gravel", 4, 256)


@pytest.fixture
def small_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CLIP of WinCLIP's input and grid but two thin layers: with random weights its own size shows nothing more."""
    import open_clip
    from anomalib.models.image.winclip import torch_model

    vision = {"image_size": 240, "patch_size": 16, "layers": 2, "width": 64, "head_width": 32}
    text = {"context_length": 77, "vocab_size": 49408, "layers": 2, "width": 32, "heads": 2}
    path = tmp_path / "small-clip-240.json"
    path.write_text(json.dumps({"embed_dim": 32, "vision_cfg": vision, "text_cfg": text}))
    open_clip.add_model_config(path)
    monkeypatch.setattr(torch_model, "BACKBONE", "small-clip-240")


def winclip_used_plainly(
    config: DetectorConfig, name: str, references: NDArray[np.uint8], shown: NDArray[np.uint8], seed: int
) -> Any:
    from anomalib.models.image.winclip.lightning_model import WinClip

    with everything_seeded(seed, CPU), untrained():
        module = WinClip()
    transform = WinClip.configure_pre_processor().transform
    module.eval().model.setup(name, transform(as_tensor(references)) if len(references) else None)
    with torch.no_grad():
        return module.model(transform(as_tensor(shown)))


@pytest.mark.usefixtures("small_clip")
@pytest.mark.parametrize(("shots", "seen"), [(None, 2), (1, 1), (0, 0)])
def test_winclip_scores_as_anomalibs_own(crops: NDArray[np.uint8], shots: int | None, seen: int) -> None:
    args = {} if shots is None else {"k_shot": shots}
    config = DetectorConfig(name="winclip", weights="random", args=args)
    assert config.label == "winclip-random"
    detector = build_detector(config, seed=3, object_name="stone")
    detector.fit(crops[:2])
    scores = detector.score(crops[2:])
    theirs = winclip_used_plainly(config, "stone", crops[:seen], crops[2:], 3)
    assert scores.maps.shape == (2, 240, 240)
    np.testing.assert_allclose(scores.maps, theirs.anomaly_map, atol=1e-4)
    np.testing.assert_allclose(scores.image, theirs.pred_score, atol=1e-4)


@pytest.mark.usefixtures("small_clip")
def test_winclip_reads_the_objects_name_unless_it_has_one(crops: NDArray[np.uint8]) -> None:
    def score(object_name: str | None, args: dict[str, Any]) -> float:
        config = DetectorConfig(name="winclip", weights="random", args={"k_shot": 0, **args})
        detector = build_detector(config, seed=0, object_name=object_name)
        detector.fit(crops[:1])
        return float(detector.score(crops[2:3]).image[0])

    assert score("stone", {}) != score("bottle", {})
    assert score("stone", {"class_name": "bottle"}) == score("bottle", {})
    assert score(None, {}) == score("object", {})


def test_who_reads_the_objects_name() -> None:
    assert DetectorConfig(name="winclip").uses_object_name()
    assert not DetectorConfig(name="winclip", args={"class_name": "pill"}).uses_object_name()
    assert not DetectorConfig(name="anomaly_dino").uses_object_name()
    assert not DetectorConfig().uses_object_name()


@pytest.mark.usefixtures("small_clip")
def test_more_references_than_good_images_is_bad_input(crops: NDArray[np.uint8]) -> None:
    detector = build_detector(DetectorConfig(name="winclip", weights="random", args={"k_shot": 3}), seed=0)
    with pytest.raises(BadInput, match="winclip-random: k_shot 3 is more than the 2 good images"):
        detector.fit(crops[:2])


def test_anomaly_dino_scores_as_in_anomalibs_engine(crops: NDArray[np.uint8], tmp_path: Path) -> None:
    config = DetectorConfig(name="anomaly_dino", weights="random", image_size=70)
    assert config.label == "anomaly_dino-random"
    detector = build_detector(config, seed=3)
    detector.fit(crops[:2])
    scores = detector.score(crops[2:])
    theirs = by_the_engine(config, crops[:2], crops[2:], 3, tmp_path)
    np.testing.assert_allclose(scores.maps, theirs.maps, atol=1e-4)
    np.testing.assert_allclose(scores.image, theirs.image, atol=1e-4)


@pytest.mark.parametrize("args", [{}, {"masking": True}, {"coreset_subsampling": True, "sampling_ratio": 0.5}])
def test_anomaly_dino_reads_an_image_once_for_every_fit(crops: NDArray[np.uint8], args: dict[str, Any]) -> None:
    config = DetectorConfig(name="anomaly_dino", weights="random", image_size=80, args=args)
    alone, shared = build_detector(config, seed=3), build_detector(config, seed=3)
    alone.fit(crops[:3])
    assert isinstance(shared, SharesFeatures)
    tokens = shared.embed(crops)
    assert tokens.shape[1:] == (25, 384)  # 80 px hold five patches of 14 a side
    shared.fit_features([tokens[:1], tokens[1:3]])
    expected, found = alone.score(crops[3:]), shared.score_features(tokens[3:])
    assert np.array_equal(found.image, expected.image)
    assert np.array_equal(found.maps, expected.maps)
    assert found.maps.shape == (1, 80, 80)


WIDE = "weight timm:wide_resnet50_2 is missing: no model.safetensors of timm/wide_resnet50_2.racm_in1k in the hub"
MISSING: list[tuple[dict[str, Any], str]] = [
    ({"name": "winclip"}, "no open_clip_model.safetensors of timm/vit_base_patch16_plus_clip_240.laion400m_e31"),
    ({"name": "anomaly_dino"}, "no model.safetensors of timm/vit_small_patch14_dinov2.lvd142m"),
    ({"name": "dinomaly"}, "no model.safetensors of timm/vit_base_patch14_reg4_dinov2.lvd142m"),
    ({"name": "inp_former"}, "no model.safetensors of timm/vit_base_patch14_reg4_dinov2.lvd142m"),
    ({"name": "l2bt"}, "no model.safetensors of timm/vit_base_patch14_reg4_dinov2.lvd142m"),
    ({"name": "foundad"}, "no model.safetensors of timm/vit_base_patch14_dinov2.lvd142m"),
    ({"name": "general_ad"}, "no model.safetensors of timm/vit_large_patch14_dinov2.lvd142m"),
    ({"name": "rad"}, "no model.safetensors of timm/vit_base_patch16_dinov3.lvd1689m"),
    ({"name": "super_add"}, "no model.safetensors of timm/vit_huge_plus_patch16_dinov3.lvd1689m"),
    ({"name": "uflow"}, "no model.safetensors of timm/cait_m48_448.fb_dist_in1k"),
    ({"name": "cfa"}, "wide_resnet50_2-9ba9bcbe.pth"),
    ({"name": "uninet"}, "wide_resnet50_2-9ba9bcbe.pth"),
    ({"name": "csflow"}, "efficientnet_b5_lukemelas-1a07897c.pth"),
    ({"name": "dsr"}, "vq_model_pretrained_128_4096.pckl"),
    ({"name": "draem"}, "dtd/images; remedy: goodshot fetch dtd"),
    ({"name": "glass", "args": {"anomaly_source_path": "dtd"}}, "dtd/images; remedy: goodshot fetch dtd"),
    ({"name": "stfpm", "backbone": "resnet18"}, "no model.safetensors of timm/resnet18.a1_in1k"),
    ({"preset": "paper"}, WIDE),
    ({"name": "cflow", "preset": "paper"}, f"cflow-paper: {WIDE}"),
    ({"name": "reverse_distillation", "preset": "paper"}, f"reverse_distillation-paper: {WIDE}"),
    ({"name": "efficient_ad", "preset": "paper"}, "efficient_ad-paper: weight efficient_ad_teacher_small is missing"),
    ({"name": "efficient_ad", "args": {"imagenet_dir": "imagenette"}}, "imagenette2; remedy: goodshot fetch imag"),
]


@pytest.mark.parametrize(
    ("fields", "message"), MISSING, ids=lambda v: "-".join(map(str, v.values())) if isinstance(v, dict) else ""
)
def test_missing_weights_are_named_without_asking_the_network(
    fields: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    def refused(*arguments: Any, **options: Any) -> None:
        raise AssertionError("the network was asked")

    for variable in ("XDG_CACHE_HOME", "HF_HOME", "TORCH_HOME"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    config = DetectorConfig(**fields)
    for attempt in (config.identity, lambda: check_weights(config), lambda: build_detector(config, seed=0)):
        with pytest.raises(MissingWeights, match=re.escape(message)) as caught:
            attempt()
        assert "\n" not in str(caught.value)
        assert "remedy: goodshot fetch" in str(caught.value)


def test_the_weights_that_are_looked_for_are_anomalibs() -> None:
    from anomalib.models.image.winclip import torch_model

    assert WINCLIP.fixed == (f"open_clip:{torch_model.BACKBONE}:{torch_model.PRETRAINED}",)


def test_weights_in_the_cache_are_found_and_identify_the_detector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file where the hub's client would have put it, and what timm then loads from it."""
    import huggingface_hub.constants
    import timm
    from safetensors.torch import save_file

    repository = tmp_path / "models--timm--resnet18.a1_in1k"
    snapshot = repository / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123")
    network = timm.create_model("resnet18", pretrained=False)
    save_file(network.state_dict(), snapshot / "model.safetensors")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    config = DetectorConfig(backbone="resnet18", image_size=64)
    assert config.layers == ("layer2", "layer3")
    assert config.label == "patchcore-resnet18"
    assert len(config.identity()["backbone_sha256"]) == 64
    crops = texture_crops("gravel", 2, 64)
    detector = build_detector(config, seed=0)
    detector.fit(crops[:1])
    assert np.isfinite(detector.score(crops[1:]).image).all()
