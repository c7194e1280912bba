"""Training throughput on one accelerator: images/s, achieved FLOP/s, and how many generators packed on it pay.

    python -m benchmarks generator_gpu        the f16 network at 256², N = 8 views, T = 4 samples; needs a GPU
    GOODSHOT_BENCH_TINY=1 python -m benchmarks generator_gpu        a tiny network, anywhere: shows that it works

An image is one that the decoder makes in a step (N + T of them). Packed generators are processes of their own, as the
runner's actors are, that start each measurement together; packing stops at the first number that gives no more, or that
does not fit. FLOPs are those of matrix products and convolutions, forward and backward, counted by torch.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from queue import Empty
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from goodshot.components.generator.config import GeneratorConfig
    from goodshot.components.generator.generator import Generator

VIEWS, SAMPLES = 8, 4
MOST = 16
LIMIT_SECONDS = 600.0
VARIANTS: dict[str, dict[str, Any]] = {
    "fp32": {},
    "bf16": {"precision": "bf16"},
    "bf16 channels last": {"precision": "bf16", "channels_last": True},
    "bf16 channels last compiled": {"precision": "bf16", "channels_last": True, "compile": True},
}


def main() -> str:
    """Measure every variant alone, then pack the fastest; returns the figures as text."""
    import torch

    tiny = os.environ.get("GOODSHOT_BENCH_TINY") == "1"
    if not tiny and not torch.cuda.is_available():
        return "generator_gpu: no GPU here; GOODSHOT_BENCH_TINY=1 runs a tiny network instead"
    lines = [f"generator_gpu: {_device_name()}, N = {VIEWS}, T = {SAMPLES}" + ", tiny network" * tiny]
    alone: dict[str, float] = {}
    # Compiling takes a C++ compiler and minutes; the tiny run is to show that the rest works.
    for variant in list(VARIANTS)[: 3 if tiny else None]:
        found = _packed(1, variant, tiny)
        if found is None:
            lines.append(f"  {variant}: does not run here")
            continue
        images, flops, gigabytes = found
        alone[variant] = images
        lines.append(
            f"  {variant}: {images:.1f} images/s, {flops / 1e12:.3f} TFLOP/s, {gigabytes:.2f} GB of the device"
        )
    best = max(alone, key=alone.__getitem__)
    return "\n".join([*lines, *_packing(best, alone[best], tiny)])


def _packing(variant: str, alone: float, tiny: bool) -> list[str]:
    lines, most, at = [], alone, 1
    for generators in range(2, (2 if tiny else MOST) + 1):
        found = _packed(generators, variant, tiny)
        if found is None:
            lines.append(f"  {generators} packed: does not fit")
            break
        images, flops, gigabytes = found
        lines.append(
            f"  {generators} packed ({variant}): {images:.1f} images/s in all ({images / alone:.2f}×), "
            f"{flops / 1e12:.3f} TFLOP/s, {gigabytes:.2f} GB"
        )
        if images < most * 1.02:
            break
        most, at = images, generators
    return [*lines, f"  most images/s: {at} packed, {most:.1f} images/s ({variant})"]


def _packed(generators: int, variant: str, tiny: bool) -> tuple[float, float, float] | None:
    """Total images/s, total FLOP/s and gigabytes of the device; None if a process failed (out of memory, say)."""
    context = multiprocessing.get_context("spawn")
    barrier, queue = context.Barrier(generators), context.Queue()
    processes = [
        context.Process(target=_train, args=(variant, tiny, seed, barrier, queue)) for seed in range(generators)
    ]
    for process in processes:
        process.start()
    try:
        found = [queue.get(timeout=LIMIT_SECONDS) for _ in processes]
    except Empty:
        found = [None]
    for process in processes:
        process.join(timeout=5)
        process.kill()
    if None in found:
        return None
    return sum(f[0] for f in found), sum(f[1] for f in found), sum(f[2] for f in found)


def _train(variant: str, tiny: bool, seed: int, barrier: Any, queue: Any) -> None:
    """One generator in a process of its own: warm up, meet the others, time some steps."""
    import torch

    torch.set_num_threads(1)
    try:
        flop = _flop_of_a_step(tiny)
        generator, steps = _generator(variant, tiny, seed), 3 if tiny else 10
        generator.advance(3)
        _synchronise()
        barrier.wait(timeout=LIMIT_SECONDS)
        began = time.perf_counter()
        generator.advance(generator.iteration + steps)
        _synchronise()
        seconds = (time.perf_counter() - began) / steps
        memory = torch.cuda.max_memory_reserved() / 1e9 if torch.cuda.is_available() and not tiny else 0.0
        queue.put(((VIEWS + SAMPLES) / seconds, flop / seconds, memory))
    except Exception as error:  # whoever waits at the barrier must not wait for this one
        barrier.abort()
        print(f"generator_gpu: {variant}: {' '.join(str(error).split())[:200]}")
        queue.put(None)


def _generator(variant: str, tiny: bool, seed: int) -> Generator:
    import numpy as np
    import skimage.data
    import torch

    from goodshot.components.generator.generator import Generator

    photograph = np.asarray(skimage.data.coffee())[:400, :400]
    device = "cuda" if torch.cuda.is_available() and not tiny else "cpu"
    return Generator([photograph], _config(variant, tiny), 1.0, seed, device=device)


def _config(variant: str, tiny: bool) -> GeneratorConfig:
    from goodshot.components.generator.config import GeneratorConfig

    fields: dict[str, Any] = {"augmentations": VIEWS, "train_samples": SAMPLES, **VARIANTS[variant]}
    if tiny:
        fields |= {"resolution": 32, "vqgan": {"channels": 8, "channel_multipliers": (1, 2)}, "perceptual": "none"}
    else:
        fields |= {"resolution": 256, "vqgan": "f16", "learning_rate": 4.5e-6 * VIEWS}
    return GeneratorConfig.model_validate(fields)


def _flop_of_a_step(tiny: bool) -> int:
    """The same for every variant, so counted on the plain one: torch cannot count inside compiled code."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        _generator("fp32", tiny, seed=0).step()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    return int(counter.get_total_flops())


def _synchronise() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _device_name() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
