"""Start weights: published checkpoints are read without running anything, and a file that does not fit says why."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from goodshot.components.errors import BadInput, MissingWeights
from goodshot.components.generator.config import (
    EMBEDDED_NETWORK,
    DiscriminatorConfig,
    GeneratorConfig,
    VQGANConfig,
    published,
)
from goodshot.components.generator.discriminator import PatchDiscriminator
from goodshot.components.generator.generator import Generator
from goodshot.components.generator.start import load_into, read_start, save_vqgan
from goodshot.components.generator.start_file import check_start, start_file
from goodshot.components.generator.vqgan import VQGAN
from goodshot.components.metrics.quality import image_quality

SMALL = VQGANConfig(channels=8, channel_multipliers=(1, 2), latent_channels=8, codebook_size=32)


class ModelCheckpoint:
    """What a Lightning checkpoint holds beside tensors: a class as a key, objects with a state, dicts of their own."""

    ran = False

    def __init__(self) -> None:
        self.best = 1.0

    def __setstate__(self, state: Any) -> None:
        type(self).ran = True


class AttributeDict(dict[str, Any]):
    pass


class Malicious:
    def __reduce__(self) -> Any:
        import os

        return os.system, ("touch /tmp/goodshot-was-run",)


def saved(path: Path) -> Any:
    """What a network that goodshot saved says of itself."""
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["vqgan"])


def network(seed: int = 0) -> VQGAN:
    torch.manual_seed(seed)
    return VQGAN(SMALL, 32)


def published_layout(seed: int = 0, layers: int = 2) -> dict[str, Tensor]:
    state = dict(network(seed).state_dict())
    critic = PatchDiscriminator(layers, 8).state_dict()
    state |= {f"loss.discriminator.{name}": tensor for name, tensor in critic.items()}
    return OrderedDict({**state, "loss.perceptual_loss.lin0.model.1.weight": torch.zeros(1, 64, 1, 1)})


@pytest.fixture
def lightning(tmp_path: Path) -> Path:
    path = tmp_path / "last.ckpt"
    content = {
        "epoch": 3,
        "state_dict": published_layout(),
        "callbacks": {ModelCheckpoint: {"best_model_score": np.float64(0.5), "object": ModelCheckpoint()}},
        "hyper_parameters": AttributeDict(ch=128),
    }
    torch.save(content, path)
    return path


@pytest.fixture(scope="module")
def coffee() -> np.ndarray:
    return np.asarray(skimage.data.coffee())[100:300, 150:400]


def test_a_lightning_checkpoint_is_read_without_its_objects(lightning: Path) -> None:
    weights = read_start(lightning)
    loaded = VQGAN(SMALL, 32)
    load_into(loaded, weights, lightning)
    for name, tensor in network().state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    assert "main.0.weight" in weights.discriminator
    assert not ModelCheckpoint.ran


def test_a_checkpoint_that_asks_for_a_command_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.ckpt"
    torch.save({"state_dict": published_layout(), "run": Malicious()}, path)
    with pytest.raises(BadInput, match=r"refused.*posix.system") as error:
        read_start(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert not Path("/tmp/goodshot-was-run").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut short"])
@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_a_broken_file_is_one_line(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(content)
    with pytest.raises(BadInput) as error:
        read_start(path)
    assert "\n" not in str(error.value)


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {"fc.weight": torch.zeros(2, 2)}}, tmp_path / "other.ckpt")
    with pytest.raises(BadInput, match="holds no VQGAN"):
        read_start(tmp_path / "other.ckpt")


def test_a_saved_network_comes_back_whole_and_says_what_it_is(tmp_path: Path) -> None:
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    digest = save_vqgan(one, network(), SMALL, 32, PatchDiscriminator(2, 8))
    assert save_vqgan(two, network(), SMALL, 32) != digest  # without the discriminator
    assert saved(one) == {"config": SMALL.model_dump(mode="json"), "resolution": 32, "sha256": digest}
    weights = read_start(one)
    assert torch.equal(weights.vqgan["decoder.conv_out.weight"], network().decoder.conv_out.weight)
    assert len(weights.discriminator) == len(PatchDiscriminator(2, 8).state_dict())


def test_a_changed_tensor_is_noticed(tmp_path: Path) -> None:
    from safetensors import safe_open

    path = tmp_path / "network.safetensors"
    save_vqgan(path, network(), SMALL, 32)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    tensors["quant_conv.bias"][0] += 1
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(BadInput, match="SHA-256 differs"):
        read_start(path)


def test_a_network_of_another_layout_says_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "network.safetensors"
    save_vqgan(path, network(), SMALL, 32)
    larger = VQGAN(SMALL.model_copy(update={"codebook_size": 64}), 32)
    with pytest.raises(BadInput, match=r"set generator.vqgan.codebook_size=32"):
        load_into(larger, read_start(path), path)
    deeper = VQGAN(SMALL.model_copy(update={"res_blocks": 2}), 32)
    with pytest.raises(BadInput, match="the file lacks"):
        load_into(deeper, read_start(path), path)


def test_a_published_name_that_is_not_here_names_file_and_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOODSHOT_CACHE", str(tmp_path))
    with pytest.raises(MissingWeights) as error:
        published("imagenet_16384").identity("mild")
    assert str(tmp_path / "vqgan" / "imagenet_16384.ckpt") in str(error.value)
    assert "remedy: goodshot fetch taming:imagenet_16384" in str(error.value)


def test_the_identity_holds_the_content_and_no_path(lightning: Path, tmp_path: Path) -> None:
    copy, other = tmp_path / "copy.ckpt", tmp_path / "other.ckpt"
    copy.write_bytes(lightning.read_bytes())
    torch.save({"state_dict": published_layout(seed=1)}, other)
    identities = [
        GeneratorConfig(resolution=32, vqgan=SMALL, init=f"taming:{path}").identity("mild")
        for path in (lightning, copy, other)
    ]
    assert identities[0] == identities[1] != identities[2]
    assert str(tmp_path) not in str(identities)


def test_training_starts_from_the_file(coffee: np.ndarray, lightning: Path) -> None:
    config = GeneratorConfig(
        resolution=32,
        vqgan=SMALL,
        perceptual="none",
        init=f"taming:{lightning}",
        discriminator=DiscriminatorConfig(start=0),
    )
    generator = Generator([coffee], config, 1.0, 0)
    weights = generator.training.model.vqgan.state_dict()
    for name, tensor in network().state_dict().items():
        assert torch.equal(weights[name], tensor), name
    critic = generator.training.discriminator
    assert critic is not None
    given = read_start(lightning).discriminator
    assert all(torch.equal(tensor, given[name]) for name, tensor in critic.state_dict().items())
    assert generator.step().discriminator > 0
    with pytest.raises(BadInput, match="has 2"):
        Generator(
            [coffee],
            config.model_copy(update={"discriminator": DiscriminatorConfig(start=0, layers=3)}),
            1.0,
            0,
        )


def test_a_trained_network_is_a_start_for_another(coffee: np.ndarray, tmp_path: Path) -> None:
    config = GeneratorConfig(resolution=32, vqgan=SMALL, perceptual="none")
    teacher = Generator([coffee], config, 1.0, 0)
    teacher.advance(20)
    save_vqgan(tmp_path / "start.safetensors", teacher.training.model.vqgan, SMALL, 32)
    warm = config.model_copy(update={"init": f"taming:{tmp_path / 'start.safetensors'}"})
    assert Generator([coffee], warm, 1.0, 1).step().mse < Generator([coffee], config, 1.0, 1).step().mse / 2


def test_a_published_name_wants_its_own_network() -> None:
    assert GeneratorConfig.model_validate({"vqgan": "f16"}).vqgan.channels == 128
    with pytest.raises(ValueError, match=r"set generator.vqgan=f16_16384"):
        GeneratorConfig.model_validate({"vqgan": "f16", "init": "taming:imagenet_16384"})
    with pytest.raises(ValueError, match="must be small, embedded, f16, f16_16384, or a mapping"):
        GeneratorConfig.model_validate({"vqgan": "f8"})


def test_a_replaced_file_is_noticed_before_training(lightning: Path) -> None:
    init = f"taming:{lightning}"
    planned = GeneratorConfig(resolution=32, vqgan=SMALL, init=init).identity("mild")["init_sha256"]
    check_start(init, planned)
    check_start("scratch", None)
    torch.save({"state_dict": published_layout(seed=1)}, lightning)
    with pytest.raises(BadInput, match="not the file of the plan"):
        check_start(init, planned)


def test_published_attention_stays_at_its_level_at_another_resolution() -> None:
    config = published(resolution=128).vqgan
    with torch.device("meta"):
        names = set(VQGAN(config, 128).state_dict())
        assert names == set(VQGAN(config, 256).state_dict())
    assert len(names) == 343


class TestEmbedded:
    """The start weights that come with goodshot."""

    CONFIG = GeneratorConfig(resolution=96, vqgan="embedded", init="embedded", perceptual="none", learning_rate=3e-4)

    def test_they_are_what_was_recorded_and_small(self) -> None:
        file = start_file("embedded")
        assert file is not None
        # docs/generator.md and benchmarks/train_embedded.py tell where they come from.
        assert file.sha256 == "49b2f84993ba9e5ce9b525c7abadac9b64d15c59721f256a4fead96e07c2f73e"
        assert file.path.stat().st_size < 10 << 20
        assert saved(file.path)["config"] == EMBEDDED_NETWORK.model_dump(mode="json")

    def test_they_reconstruct_a_photograph_that_they_were_not_trained_on(self) -> None:
        coins = np.repeat(np.asarray(skimage.data.coins())[30:222, 30:222, None], 3, 2)
        generator = Generator([coins], self.CONFIG.model_copy(update={"variance": "none"}), 1.0, 0)
        view = torch.from_numpy(coins.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
        with torch.no_grad():
            found = generator.vqgan.decode(generator.vqgan.quantize(generator.vqgan.encode(view)).latents)
        psnr = 10 * torch.log10(4 / (found.clamp(-1, 1) - view).pow(2).mean())
        assert psnr > 22

    @pytest.mark.slow
    def test_a_few_updates_from_them_are_sharper_than_as_many_from_scratch(self) -> None:
        coffee = np.ascontiguousarray(skimage.data.coffee()[:400, 100:500])
        scratch = self.CONFIG.model_copy(update={"init": "scratch", "learning_rate": 1e-3})
        ssim = {}
        for config in (self.CONFIG, scratch):
            generator = Generator([coffee], config, 1.0, 0)
            generator.advance(5)
            ssim[config.init] = image_quality(generator.sample(2), [coffee])["ssim"]
        assert ssim["embedded"] > ssim["scratch"] + 0.1

    def test_another_network_is_refused_by_name(self) -> None:
        with pytest.raises(ValueError, match=r"set generator\.vqgan=embedded"):
            GeneratorConfig(init="embedded")
