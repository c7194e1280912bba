"""One generator trained by several workers: the same loop under Ray Train, a step's originals shared among them.

Worker r of W takes the originals at positions r, r + W, … of each step; Accelerate averages gradients in the process
group that Ray Train sets up (gloo on CPUs, nccl on GPUs). Every worker holds the same weights; the first writes them.

It pays where a support has many originals (``shots: full``): one original cannot be shared, because eq. 3 needs all its
views. The gradient is that of one worker with the whole step up to rounding, without a discriminator; with one, batch
normalisation and the adaptive weight look at each worker's part alone.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.errors import BadInput, GoodshotError
from components.generator.config import GeneratorConfig

if TYPE_CHECKING:
    from components.generator.generator import Generator
    from components.generator.training import StepLosses
    from components.generator.variation import VarianceHead

CHECKPOINT = "generator.safetensors"
GRADIENTS = "gradients.safetensors"
LOSSES = "losses.json"
START = "start.safetensors"


@dataclass(frozen=True)
class SharedTraining:
    """A training for several workers.

    Args:
        originals: K arrays uint8 (H, W, 3).
        folder: where the first worker writes the checkpoint; the same for all workers.
        keep_gradients: write the gradients of the step that would come next too.
        start: a checkpoint in ``folder`` to go on from.
        variance_head: for ``variance: predicted``.
    """

    originals: Sequence[np.ndarray]
    config: GeneratorConfig
    vq_weight: float
    seed: int
    iterations: int
    folder: str
    augmentation: str = "mild"
    keep_gradients: bool = False
    start: str | None = None
    variance_head: VarianceHead | None = None


def train_shared(training: SharedTraining, workers: int, gpus: bool = False, threads: int = 1) -> Path:
    """Train until ``iterations`` updates on the running Ray cluster. Returns the checkpoint (``Generator.restore``).

    Args:
        threads: of each worker.

    Raises:
        BadInput: more workers than a step has originals.
        GoodshotError: a worker failed; the message is its last line.
    """
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    shared = min(len(training.originals), training.config.originals_per_step)
    if workers > shared:
        raise BadInput(f"{workers} workers share a step's originals, of which there are {shared}; use fewer workers")
    with tempfile.TemporaryDirectory() as records:
        trainer = TorchTrainer(
            _work,
            train_loop_config={"training": training, "gpus": gpus, "threads": threads},
            torch_config=TorchConfig(backend="nccl" if gpus else "gloo"),
            scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpus),
            run_config=RunConfig(storage_path=records, name="generator"),
        )
        try:
            trainer.fit()
        except Exception as error:
            raise GoodshotError(f"a worker of {workers} failed: {str(error).strip().splitlines()[-1]}") from error
    return Path(training.folder) / CHECKPOINT


def shared_steps(
    training: SharedTraining, generator: Generator, workers: int, gpus: bool = False, threads: int = 1
) -> list[StepLosses]:
    """Bring ``generator`` to ``training.iterations`` updates by several workers; returns the losses of its steps.

    The workers go on from the generator's own state and it takes over theirs. Starting them costs seconds, so it pays
    for many steps at a time.
    """
    from components.generator.training import StepLosses

    with tempfile.TemporaryDirectory() as folder:
        generator.save(Path(folder) / START)
        checkpoint = train_shared(replace(training, folder=folder, start=START), workers, gpus, threads)
        generator.restore(checkpoint)
        found = json.loads((Path(folder) / LOSSES).read_text())
    return [StepLosses(**dict(zip(found, row, strict=True))) for row in zip(*found.values(), strict=True)]


def _work(arguments: dict[str, Any]) -> None:
    """A worker: the process group is there already, and Accelerate finds it."""
    from safetensors.torch import save_file

    from components.generator.generator import Generator
    from components.generator.training import columns
    from runner.cluster.connection import start_worker

    start_worker(arguments["threads"])
    training: SharedTraining = arguments["training"]
    generator = Generator(
        training.originals,
        training.config,
        training.vq_weight,
        training.seed,
        training.augmentation,
        "cuda" if arguments["gpus"] else "cpu",
        training.variance_head,
    )
    if training.start is not None:
        generator.restore(Path(training.folder) / training.start)
    losses = generator.advance(training.iterations)
    if generator.is_first:
        (Path(training.folder) / LOSSES).write_text(json.dumps(columns(losses)))
    # By all of them: saving looks at the next step's gradients, which they compute together. The first one writes.
    generator.save(Path(training.folder) / CHECKPOINT)
    if training.keep_gradients and generator.is_first:
        save_file(generator.gradients(), Path(training.folder) / GRADIENTS)
