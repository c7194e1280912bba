"""Bases of others: folders in diffusers' layout, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch as st
import torch

from goodshot.components.defects.images import DefectImages, Site
from goodshot.components.errors import BadInput, MissingWeights
from goodshot.components.fusion.base import base_bytes, new_base
from goodshot.components.fusion.config import FusionConfig
from goodshot.components.fusion.features import DefectFeatures
from goodshot.components.fusion.fusion import Fusion
from goodshot.components.fusion.mask_encoder import new_mask_autoencoder
from goodshot.components.fusion.published import base_identity, load_base
from tests.fusion.conftest import TINY, TINY_BASE


def an_autoencoder(kind: str) -> torch.nn.Module:
    from diffusers import AutoencoderKL, VQModel

    sizes = {
        "block_out_channels": (8, 8),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "latent_channels": 4,
        "norm_num_groups": 4,
    }
    return AutoencoderKL(**sizes) if kind == "vae" else VQModel(**sizes, num_vq_embeddings=16)


def write(folder: Path, autoencoder: str = "vae", safe: bool = True) -> Path:
    from diffusers import DDIMScheduler, UNet2DConditionModel

    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(16, 32),
        layers_per_block=1,
        cross_attention_dim=32,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
        attention_head_dim=2,
    )
    unet.save_pretrained(folder / "unet", safe_serialization=safe)
    an_autoencoder(autoencoder).save_pretrained(folder / autoencoder, safe_serialization=safe)
    DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False).save_pretrained(folder / "scheduler")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("published"))


def test_a_folder_of_diffusers_predicts_the_same_noise(folder: Path) -> None:
    from diffusers import AutoencoderKL, UNet2DConditionModel

    base = load_base(f"path:{folder}", 32)
    assert base.grid == (4, 16, 16)
    assert not any(parameter.requires_grad for parameter in base.parameters())
    theirs = UNet2DConditionModel.from_pretrained(folder / "unet").eval()
    x, t, tokens = torch.randn(2, 4, 16, 16), torch.tensor([3, 900]), torch.randn(2, 5, 32)
    with torch.no_grad():
        torch.testing.assert_close(base(x, t, tokens), theirs(x, t, tokens).sample, atol=1e-5, rtol=1e-5)
    images, vae = torch.rand(2, 3, 32, 32) * 2 - 1, AutoencoderKL.from_pretrained(folder / "vae").eval()
    with torch.no_grad():
        latents = vae.encode(images).latent_dist.mode() * vae.config.scaling_factor
        torch.testing.assert_close(base.codec.encode(images), latents)
        torch.testing.assert_close(base.codec.decode(latents), vae.decode(latents / vae.config.scaling_factor).sample)


@pytest.mark.parametrize("safe", [True, False])
def test_a_folder_with_a_vq_model_and_plain_tensors_is_read(tmp_path: Path, safe: bool) -> None:
    base = load_base(f"path:{write(tmp_path / 'vq', 'vqvae', safe)}", 32)
    images = torch.rand(1, 3, 32, 32)
    assert base.codec.decode(base.codec.encode(images)).shape == images.shape


def test_attention_under_its_old_names_is_read(tmp_path: Path) -> None:
    folder = write(tmp_path / "old")
    file = folder / "vae" / "diffusion_pytorch_model.safetensors"
    old = st.load_file(file)
    for new, name in {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}.items():
        old = {key.replace(new, name): value for key, value in old.items()}
    images, expected = torch.rand(1, 3, 32, 32), load_base(f"path:{folder}", 32).codec
    st.save_file(old, file)
    torch.testing.assert_close(load_base(f"path:{folder}", 32).codec.encode(images), expected.encode(images))


def test_a_checkpoint_of_another_architecture_names_the_first_tensor_that_differs(tmp_path: Path) -> None:
    folder = write(tmp_path / "other")
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = st.load_file(file)
    st.save_file({**tensors, "conv_in.weight": torch.zeros(16, 9, 3, 3)}, file)
    with pytest.raises(BadInput, match=r"conv_in\.weight has shape \[16, 9, 3, 3\], the network wants \[16, 4, 3, 3\]"):
        load_base(f"path:{folder}", 32)
    st.save_file({name: value for name, value in tensors.items() if name != "conv_out.bias"}, file)
    with pytest.raises(BadInput, match=r"it lacks conv_out\.bias"):
        load_base(f"path:{folder}", 32)
    st.save_file({**tensors, "extra": torch.zeros(1)}, file)
    with pytest.raises(BadInput, match="the network has no extra"):
        load_base(f"path:{folder}", 32)


def test_files_that_are_no_base_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "some.safetensors"
    st.save_file({"a": torch.zeros(1)}, file)
    with pytest.raises(BadInput, match="another architecture"):
        load_base(f"path:{file}", 32)
    file.write_bytes(b"nothing")
    with pytest.raises(BadInput, match="not safetensors"):
        load_base(f"path:{file}", 32)
    with pytest.raises(MissingWeights, match="no such file"):
        load_base(f"path:{tmp_path / 'absent'}", 32)
    with pytest.raises(BadInput, match="vqvae or vae"):
        load_base(f"path:{write_without_autoencoder(tmp_path)}", 32)
    file.write_bytes(base_bytes(new_base(32, TINY_BASE, seed=0), TINY_BASE))
    with pytest.raises(BadInput, match="for 32 pixels"):
        load_base(f"path:{file}", 64)
    assert load_base(f"path:{file}", 32).grid == (12, 16, 16)
    with pytest.raises(BadInput, match="unknown weight"):
        load_base("stable_diffusion_9", 32)


def write_without_autoencoder(place: Path) -> Path:
    import shutil

    folder = write(place / "half")
    shutil.rmtree(folder / "vae")
    return folder


def test_a_pickle_is_not_run(tmp_path: Path) -> None:
    folder = write(tmp_path / "pickled", safe=False)
    torch.save({"conv_in.weight": print}, folder / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(BadInput, match="not plain tensors"):
        load_base(f"path:{folder}", 32)


def test_its_identity_is_what_its_files_hold(folder: Path, tmp_path: Path) -> None:
    identity = base_identity(f"path:{folder}")
    assert set(identity) >= {"unet/config.json", "vae/diffusion_pytorch_model.safetensors"}
    assert base_identity(f"path:{write(tmp_path / 'again')}") == identity


def test_defects_are_learned_and_made_with_a_frozen_published_base(
    folder: Path, defects: DefectImages, features: DefectFeatures, sites: list[Site], goods: np.ndarray
) -> None:
    config = FusionConfig.model_validate({**TINY.model_dump(), "base": f"path:{folder}", "trains": "embeddings"})
    base = load_base(config.base, 32)
    trained = config.model_copy(update={"trains": "all"})
    with pytest.raises(BadInput, match="set trains=embeddings"):
        Fusion(trained, defects, features, 0, base, new_mask_autoencoder(config.masks, seed=0))
    before = {name: value.clone() for name, value in base.state_dict().items()}
    fusion = Fusion(config, defects, features, 0, base, new_mask_autoencoder(config.masks, seed=0))
    fusion.train(2)
    assert all(torch.equal(value, before[name]) for name, value in base.state_dict().items())
    made = fusion.generate(sites[:2], goods, seed=0)
    for image, site in zip(made, sites, strict=False):
        assert np.array_equal(image[~site.mask], goods[site.good][~site.mask])
