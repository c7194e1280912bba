"""Parity with the modules of the original code (taming-transformers, installed by ``make install``): same weights in,
same numbers out. ``make test`` leaves these out; run them with ``pytest -m peer``.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from goodshot.components.errors import BadInput
from goodshot.components.generator.batch import Batch
from goodshot.components.generator.config import F16, DiscriminatorConfig, GeneratorConfig, VQGANConfig
from goodshot.components.generator.discriminator import PatchDiscriminator, discriminator_hinge
from goodshot.components.generator.losses import codebook_loss
from goodshot.components.generator.objective import VarianceAwareVQGAN
from goodshot.components.generator.vqgan import VQGAN
from goodshot.components.perceptual import load_lpips

pytestmark = pytest.mark.peer
SMALL = VQGANConfig(channels=32, channel_multipliers=(1, 2), norm_groups=32, latent_channels=32, codebook_size=64)


@pytest.fixture(autouse=True)
def _peer_and_threads() -> Iterator[None]:
    pytest.importorskip("taming.modules")
    with contextlib.redirect_stdout(io.StringIO()):  # the peer prints what it does
        yield


class Peer(nn.Module):
    """The original VQModel's network; its own class wants an old Lightning."""

    def __init__(self, config: VQGANConfig, resolution: int, legacy: bool = True) -> None:
        from taming.modules.diffusionmodules.model import Decoder, Encoder
        from taming.modules.vqvae.quantize import VectorQuantizer2

        super().__init__()
        layout: dict[str, Any] = {
            "ch": config.channels,
            "out_ch": 3,
            "ch_mult": config.channel_multipliers,
            "num_res_blocks": config.res_blocks,
            "attn_resolutions": config.attention_resolutions,
            "in_channels": 3,
            "resolution": resolution,
            "z_channels": config.latent_channels,
            "double_z": False,
        }
        c = config.latent_channels
        self.encoder, self.decoder = Encoder(**layout), Decoder(**layout)
        self.quantize = VectorQuantizer2(config.codebook_size, c, beta=0.25, legacy=legacy, sane_index_shape=True)
        self.quant_conv, self.post_quant_conv = nn.Conv2d(c, c, 1), nn.Conv2d(c, c, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Latents, quantised latents, codebook loss, indices, reconstruction."""
        latents = self.quant_conv(self.encoder(images))
        quantised, loss, (_, _, indices) = self.quantize(latents)
        return latents, quantised, loss, indices, self.decoder(self.post_quant_conv(quantised))


def pair(config: VQGANConfig, resolution: int, legacy: bool = True) -> tuple[VQGAN, Peer]:
    """The same random weights in both. A fresh codebook is tiny: codes like latents make the choice a real one."""
    torch.manual_seed(0)
    peer = Peer(config, resolution, legacy)
    nn.init.normal_(peer.quantize.embedding.weight, std=0.3)
    ours = VQGAN(config, resolution)
    ours.load_state_dict(peer.state_dict(), strict=True)
    return ours, peer


def decided(latents: Tensor, codebook: Tensor) -> Tensor:
    """(B, h, w): where the nearest code is nearer than the second by 20 times what float32 rounds (1e-6)."""
    flat = latents.detach().permute(0, 2, 3, 1).flatten(0, 2).double()
    distances = torch.cdist(flat, codebook.detach().double()).square()
    nearest, second = distances.topk(2, largest=False).values.unbind(1)
    return (second > nearest * (1 + 2e-5)).view(len(latents), *latents.shape[2:])


def assert_same_gradients(found: Iterable[Tensor], expected: Iterable[Tensor]) -> None:
    """By the norm of each: single elements jump where one of the two rounds across a kink of L1 or of a ReLU.

    That changes a norm by up to 3e-3; an adversarial weight of 0.75 in place of 0.8 changes it by more than 1e-2.
    """
    pairs = list(zip(found, expected, strict=True))
    # Some gradients are zero but for rounding, such as a bias's before a normalisation.
    zero = 1e-5 * max(float(theirs.norm()) for _, theirs in pairs)
    for ours, theirs in pairs:
        assert float((ours - theirs).norm()) <= 1e-2 * float(theirs.norm()) + zero


@pytest.mark.parametrize("codebook_size", [1024, 16384])
def test_f16_gives_the_same_latents_indices_and_reconstruction(codebook_size: int) -> None:
    ours, peer = pair(F16.model_copy(update={"codebook_size": codebook_size}), 256)
    images = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        latents, quantised, _, indices, reconstruction = peer(images)
        torch.testing.assert_close(ours.encode(images), latents, atol=1e-4, rtol=1e-4)
        # From here on each part reads the peer's input: the two round differently, and a near tie may go either way.
        found, clear = ours.quantize(latents), decided(latents, ours.quantize.embedding.weight)
        assert clear.float().mean() > 0.9
        assert torch.equal(found.indices[clear], indices[clear])
        assert len(indices.unique()) > 10
        one, other = (maps.permute(0, 2, 3, 1)[clear] for maps in (found.latents, quantised))
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(ours.decode(quantised), reconstruction, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("legacy", [False, True])
def test_codebook_loss_is_theirs_in_both_forms(legacy: bool) -> None:
    ours, peer = pair(SMALL, 32, legacy)
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    _, _, loss, _, _ = peer(images)
    latents = ours.encode(images)
    # No latent of these lies between two codes, or rounding would decide whether the gradients are the same.
    assert decided(latents, ours.quantize.embedding.weight).all()
    found = codebook_loss(latents, ours.quantize(latents), 0.25, legacy)
    torch.testing.assert_close(found, loss)
    loss.backward()
    found.backward()
    theirs = dict(peer.named_parameters())
    own = {name: p.grad for name, p in ours.named_parameters() if p.grad is not None}
    assert_same_gradients(own.values(), (theirs[name].grad for name in own))
    assert ours.quantize.embedding.weight.grad is not None


class TheirLoss:
    """The original loss, with a perceptual term that needs no download: the mean squared difference."""

    def __new__(cls, layers: int, weight: float) -> Any:
        from taming.modules.losses import vqperceptual

        class Perceptual(nn.Module):
            def forward(self, one: Tensor, other: Tensor) -> Tensor:
                return F.mse_loss(one, other, reduction="none").mean((1, 2, 3), keepdim=True)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(vqperceptual, "LPIPS", Perceptual)
            return vqperceptual.VQLPIPSWithDiscriminator(disc_start=0, disc_num_layers=layers, disc_weight=weight)


@pytest.mark.parametrize(("layers", "weight", "legacy"), [(3, 0.8, True), (2, 0.75, False)])
def test_every_term_of_l_vq_is_theirs(layers: int, weight: float, legacy: bool) -> None:
    size = 64
    ours, peer = pair(SMALL, size, legacy)
    loss = TheirLoss(layers, weight)
    critic = PatchDiscriminator(layers)
    critic.load_state_dict(loss.discriminator.state_dict(), strict=True)
    config = GeneratorConfig(
        resolution=size,
        vqgan=SMALL,
        perceptual="none",
        augmentations=4,
        legacy_beta=legacy,
        discriminator=DiscriminatorConfig(start=0, layers=layers, weight=weight),
    )
    model = VarianceAwareVQGAN(config, 1.0, perceptual=nn.MSELoss())
    model.vqgan.load_state_dict(ours.state_dict())
    # Of several seeds the one whose latents lie clearest of the middle between two codes.
    views = torch.rand(1, 4, 3, size, size, generator=torch.Generator().manual_seed(8)) * 2 - 1
    flat = views.flatten(0, 1)
    assert decided(ours.encode(flat), ours.quantize.embedding.weight).all()
    # Without a sample the loss is L_vq alone.
    batch = Batch(views[:, 0], views, torch.zeros(0, 32, size // 2, size // 2), (), mse_share=0.0, vq_share=1.0)

    _, _, codebook, _, reconstruction = peer(flat)
    last = peer.decoder.conv_out.weight
    total, log = loss(codebook, flat, reconstruction, 0, global_step=1, last_layer=last)
    loss.discriminator.requires_grad_(False)
    total.backward()
    critic.requires_grad_(False)
    found = model(batch, critic)
    found.total.backward()

    torch.testing.assert_close(found.total.detach(), log["train/total_loss"], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.codebook, log["train/quant_loss"], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.reconstruction + found.perceptual, log["train/nll_loss"], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.adversarial, log["train/g_loss"], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.adaptive, log["train/d_weight"], atol=1e-4, rtol=1e-3)
    assert found.adaptive > 0
    theirs = dict(peer.named_parameters())
    own = {name: p.grad for name, p in model.vqgan.named_parameters()}
    assert_same_gradients(own.values(), (theirs[name].grad for name in own))

    loss.discriminator.requires_grad_(True)
    of_critic, _ = loss(codebook, flat, reconstruction, 1, global_step=1, last_layer=last)
    of_critic.backward()
    critic.requires_grad_(True)
    # Of the peer's reconstruction: the hinge has a kink, on another side of which a rounding may bring a patch.
    our_critic = discriminator_hinge(critic(flat), critic(reconstruction.detach()))
    our_critic.backward()
    torch.testing.assert_close(our_critic, of_critic, atol=1e-4, rtol=1e-4)
    assert_same_gradients((p.grad for p in critic.parameters()), (p.grad for p in loss.discriminator.parameters()))


def test_lpips_is_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision
    from taming.modules.losses import lpips

    vgg16 = torchvision.models.vgg16
    monkeypatch.setattr(lpips.models, "vgg16", lambda pretrained: vgg16(weights=None))
    monkeypatch.setattr(lpips.LPIPS, "load_from_pretrained", lambda self: None)
    torch.manual_seed(0)
    peer = lpips.LPIPS().eval()
    ours = load_lpips(peer.state_dict(), Path("peer"))
    images = torch.rand(2, 3, 48, 48) * 2 - 1
    other = (images + 0.2 * torch.randn(images.shape)).requires_grad_()
    expected, found = peer(images, other).mean(), ours(other, images)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)
    (of_peer,) = torch.autograd.grad(expected, other)
    (of_ours,) = torch.autograd.grad(found, other)
    assert of_peer.abs().max() > 0
    assert_same_gradients([of_ours], [of_peer])
    with pytest.raises(BadInput, match=r"set generator.perceptual=lite0"):
        load_lpips({}, Path("peer"))
