"""The VQGAN against the original modules (taming-transformers) and diffusers' ``VQModel``: time, memory, profile.

The same layout, the same batch, fp32, two CPU threads. Time: everyone in one process by turns, the best of some
rounds, so that another job on the machine slows all alike; CPU seconds too. Memory: each in a process of its own, its
peak less what it held before (the network, and Adam's moments in training).

- forward: encode, quantise and decode one 256² image of noise with the f16 network of 72 million parameters;
- train: L1 + codebook loss, backward, Adam on six 96² images with a 32-channel f8 network.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

    from goodshot.components.generator.config import VQGANConfig

THREADS = 2
TIMEOUT = 600
ROUNDS = {"forward": 3, "train": 6}
Reconstruct = Any  # images → (reconstruction, codebook loss)


def main() -> str:
    """Measure everyone, return the ratios and the profile of our training step as text."""
    lines = ["generator: the best round, and peak memory above that of holding the network"]
    for what in ROUNDS:
        times = _in_a_process("time", what)
        memory = {maker: _in_a_process("memory", what, maker)["gigabytes"] for maker in times}
        ours = times.pop("goodshot")
        gigabytes = memory["goodshot"]
        lines.append(
            f"  {what}: goodshot {ours['seconds']:.2f} s ({ours['cpu']:.2f} CPU s), {gigabytes:.2f} GB, "
            f"{ours['flop'] / 1e9:.0f} GFLOP, {ours['flop'] / ours['seconds'] / 1e9:.0f} GFLOP/s"
        )
        for maker, theirs in times.items():
            assert theirs["parameters"] == ours["parameters"], maker
            lines.append(
                f"    {maker} {theirs['seconds']:.2f} s ({theirs['seconds'] / ours['seconds']:.2f}×, "
                f"CPU {theirs['cpu'] / ours['cpu']:.2f}×), {memory[maker]:.2f} GB ({memory[maker] / gigabytes:.2f}×)"
            )
    return "\n".join([*lines, _in_a_process("profile")["text"]])


def _in_a_process(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.generator", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=True, env=environment)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _time(what: str) -> dict[str, Any]:
    """Everyone by turns: {maker: {seconds, cpu, flop, parameters}}."""
    from torch.utils.flop_counter import FlopCounterMode

    steps = {maker: _step(what, maker) for maker in MAKERS}
    found: dict[str, Any] = {}
    for maker, (network, once) in steps.items():
        with FlopCounterMode(display=False) as counter:
            once()
        parameters = sum(p.numel() for p in network.parameters())
        found[maker] = {"flop": counter.get_total_flops(), "parameters": parameters, "seconds": 1e9, "cpu": 1e9}
    for _ in range(ROUNDS[what]):
        for maker, (_, once) in steps.items():
            began, cpu = time.perf_counter(), time.process_time()
            once()
            found[maker]["seconds"] = min(found[maker]["seconds"], time.perf_counter() - began)
            found[maker]["cpu"] = min(found[maker]["cpu"], time.process_time() - cpu)
    return found


def _memory(what: str, maker: str) -> dict[str, Any]:
    _, once = _step(what, maker)
    before = _peak()
    once()
    once()
    return {"gigabytes": _peak() - before}


def _step(what: str, maker: str) -> tuple[nn.Module, Callable[[], None]]:
    """Build the network and its batch; the second is what is measured."""
    import torch

    from goodshot.components.generator.config import F16, VQGANConfig

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    small = VQGANConfig(channels=32, norm_groups=32)
    config, size, batch = (F16, 256, 1) if what == "forward" else (small, 96, 6)
    network, reconstruct = MAKERS[maker](config, size)
    images = torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return network, _train_step(network, reconstruct, images) if what == "train" else _forward(reconstruct, images)


def _forward(reconstruct: Reconstruct, images: Tensor) -> Callable[[], None]:
    import torch

    def once() -> None:
        with torch.no_grad():
            reconstruct(images)

    return once


def _train_step(network: nn.Module, reconstruct: Reconstruct, images: Tensor) -> Callable[[], None]:
    import torch

    optimiser = torch.optim.Adam(network.parameters(), lr=1e-4)

    def once() -> None:
        optimiser.zero_grad(set_to_none=True)
        reconstruction, codebook = reconstruct(images)
        ((images - reconstruction).abs().mean() + codebook).backward()
        optimiser.step()

    once()  # Adam's moments are there before anything is measured
    return once


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def _goodshot(config: VQGANConfig, size: int) -> tuple[nn.Module, Reconstruct]:
    from goodshot.components.generator.losses import codebook_loss
    from goodshot.components.generator.vqgan import VQGAN

    network = VQGAN(config, size)

    def reconstruct(images: Tensor) -> tuple[Tensor, Tensor]:
        latents = network.encode(images)
        quantised = network.quantize(latents)
        return network.decode(quantised.latents), codebook_loss(latents, quantised, 0.25)

    return network, reconstruct


def _taming(config: VQGANConfig, size: int) -> tuple[nn.Module, Reconstruct]:
    from contextlib import redirect_stdout
    from io import StringIO

    from taming.modules.diffusionmodules.model import Decoder, Encoder
    from taming.modules.vqvae.quantize import VectorQuantizer2
    from torch import nn

    c = config.latent_channels
    layout = {
        "ch": config.channels,
        "out_ch": 3,
        "ch_mult": config.channel_multipliers,
        "num_res_blocks": config.res_blocks,
        "attn_resolutions": config.attention_resolutions,
        "in_channels": 3,
        "resolution": size,
        "z_channels": c,
        "double_z": False,
    }
    with redirect_stdout(StringIO()):
        encoder, decoder = Encoder(**layout), Decoder(**layout)
    quantize = VectorQuantizer2(config.codebook_size, c, beta=0.25, legacy=False)
    network = nn.ModuleList([encoder, nn.Conv2d(c, c, 1), quantize, nn.Conv2d(c, c, 1), decoder])

    def reconstruct(images: Tensor) -> tuple[Tensor, Tensor]:
        quantised, loss, _ = quantize(network[1](encoder(images)))
        return decoder(network[3](quantised)), loss

    return network, reconstruct


def _diffusers(config: VQGANConfig, size: int) -> tuple[nn.Module, Reconstruct]:
    from diffusers import VQModel

    # Its blocks come with attention at all of a level's blocks or at none, which is what f16 has at its lowest.
    lowest = bool(config.attention_resolutions)
    levels = len(config.channel_multipliers)
    down = ["DownEncoderBlock2D"] * (levels - 1) + ["AttnDownEncoderBlock2D" if lowest else "DownEncoderBlock2D"]
    up = ["AttnUpDecoderBlock2D" if lowest else "UpDecoderBlock2D"] + ["UpDecoderBlock2D"] * (levels - 1)
    network = VQModel(
        down_block_types=tuple(down),
        up_block_types=tuple(up),
        block_out_channels=tuple(config.channels * m for m in config.channel_multipliers),
        layers_per_block=config.res_blocks,
        latent_channels=config.latent_channels,
        num_vq_embeddings=config.codebook_size,
        norm_num_groups=config.norm_groups,
        sample_size=size,
    )

    def reconstruct(images: Tensor) -> tuple[Tensor, Tensor]:
        quantised, loss, _ = network.quantize(network.encode(images).latents)
        return network.decoder(network.post_quant_conv(quantised)), loss

    return network, reconstruct


MAKERS: dict[str, Callable[[VQGANConfig, int], tuple[nn.Module, Reconstruct]]] = {
    "goodshot": _goodshot,
    "taming": _taming,
    "diffusers": _diffusers,
}


def _profile() -> dict[str, Any]:
    """Where a whole step of our training goes (the demo's network, one original, 4 views, 2 samples, lite0)."""
    import numpy as np
    import skimage.data
    import torch
    from torch.profiler import ProfilerActivity, profile

    from goodshot.components.generator.config import GeneratorConfig
    from goodshot.components.generator.generator import Generator

    torch.set_num_threads(THREADS)
    photograph = np.asarray(skimage.data.coffee())[100:300, 150:400]
    generator = Generator([photograph], GeneratorConfig(), 1.0, 0)
    generator.advance(2)
    began = time.perf_counter()
    generator.advance(7)
    seconds = (time.perf_counter() - began) / 5
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        generator.advance(10)
    events = sorted(profiler.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    shares = [f"{event.key} {event.self_cpu_time_total / total:.0%}" for event in events[:8]]
    return {"text": f"  a whole training step (views, eq. 7, Adam) {seconds:.2f} s: {', '.join(shares)}"}


if __name__ == "__main__":
    kind, *rest = sys.argv[1:]
    print(json.dumps({"time": _time, "memory": _memory, "profile": _profile}[kind](*rest)))
