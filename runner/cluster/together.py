"""Train one generator in several processes with Ray Train: the originals of each training step are divided among them.

Worker r of W processes the originals at positions r, r + W, … of each step. Accelerate averages the gradients in the
process group that Ray Train sets up (gloo on CPUs, nccl on GPUs). All workers hold the same weights; worker 0 writes
them.

This is worthwhile for supports with many originals (``shots: full``). One original cannot be divided, because eq. 3
needs all its views. Without a discriminator, the gradient equals that of a single process up to rounding. With a
discriminator, batch normalisation and the adaptive weight are computed from each worker's part alone.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goodshot.components.errors import BadInput, GoodshotError
from goodshot.runner.stages.training import GeneratorSpec

if TYPE_CHECKING:
    from goodshot.components.generator.generator import Generator
    from goodshot.components.generator.training import StepLosses

CHECKPOINT = "generator.safetensors"
GRADIENTS = "gradients.safetensors"
LOSSES = "losses.json"
START = "start.safetensors"


@dataclass(frozen=True)
class SharedTraining:
    """A training for several workers.

    Args:
        spec: the originals, configuration and seed that the generator is built from.
        iterations: the number of updates after which the training ends.
        folder: a folder that all workers can read and to which worker 0 writes the checkpoint.
        keep_gradients: whether to write the gradients of the next step too.
        start: the name of a checkpoint in ``folder`` to continue from; None starts from the beginning.
    """

    spec: GeneratorSpec
    iterations: int
    folder: str
    keep_gradients: bool = False
    start: str | None = None


@dataclass(frozen=True)
class Workers:
    """The processes that train one generator together.

    cpus, gpus: the CPUs and GPUs that each process reserves.
    node: the IP address of the node to run on, which has to be the caller's because they exchange files; None for any.
    """

    count: int
    cpus: float = 1
    gpus: float = 0
    node: str | None = None

    @property
    def threads(self) -> int:
        """The number of CPU threads of each process."""
        return max(1, int(self.cpus))

    def train(self, spec: GeneratorSpec, generator: Generator, to: int) -> list[StepLosses]:
        """Train ``generator`` up to ``to`` updates in total; returns the losses of the new steps.

        The workers continue from the generator's state, and the generator then takes over theirs. Starting the workers
        takes seconds, so one call should train many steps.
        """
        from goodshot.components.generator.training import StepLosses

        if to <= generator.iteration:
            return []
        with tempfile.TemporaryDirectory() as folder:
            generator.save(Path(folder) / START)
            checkpoint = train_shared(SharedTraining(spec, to, folder, start=START), self)
            generator.restore(checkpoint)
            losses = json.loads((Path(folder) / LOSSES).read_text())
        return [StepLosses(**dict(zip(losses, row, strict=True))) for row in zip(*losses.values(), strict=True)]


def train_shared(training: SharedTraining, workers: Workers) -> Path:
    """Train up to ``iterations`` updates on the running Ray cluster.

    Returns:
        The path of the checkpoint, for ``Generator.restore``.

    Raises:
        BadInput: a training step has fewer originals than there are workers.
        GoodshotError: a worker failed; the message ends with the last line of its error.
    """
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    originals = min(len(training.spec.originals), training.spec.config.originals_per_step)
    if workers.count > originals:
        raise BadInput(
            f"{workers.count} workers share a step's originals, of which there are {originals}; use fewer workers"
        )
    per_worker = {"CPU": workers.cpus, **({"GPU": workers.gpus} if workers.gpus else {})}
    if workers.node is not None:
        per_worker[f"node:{workers.node}"] = 0.001
    with tempfile.TemporaryDirectory() as ray_folder:
        trainer = TorchTrainer(
            _train_worker,
            train_loop_config={"training": training, "gpus": bool(workers.gpus), "threads": workers.threads},
            torch_config=TorchConfig(backend="nccl" if workers.gpus else "gloo"),
            scaling_config=ScalingConfig(
                num_workers=workers.count, use_gpu=bool(workers.gpus), resources_per_worker=per_worker
            ),
            run_config=RunConfig(storage_path=ray_folder, name="generator"),
        )
        try:
            trainer.fit()
        except Exception as error:
            line = str(error).strip().splitlines()[-1]
            raise GoodshotError(f"one of {workers.count} training workers failed: {line}") from error
    return Path(training.folder) / CHECKPOINT


def _train_worker(arguments: dict[str, Any]) -> None:
    """The training loop of one worker; Accelerate uses the process group that Ray Train has set up."""
    from safetensors.torch import save_file

    from goodshot.components.generator.training import columns
    from goodshot.runner.cluster.connection import start_worker

    start_worker(arguments["threads"])
    training: SharedTraining = arguments["training"]
    generator = training.spec.build("cuda" if arguments["gpus"] else "cpu")
    if training.start is not None:
        generator.restore(Path(training.folder) / training.start)
    losses = generator.advance(training.iterations)
    if generator.is_first:
        (Path(training.folder) / LOSSES).write_text(json.dumps(columns(losses)))
    # Every worker calls this, because saving checks the next step's gradients, which they compute together. Worker 0
    # writes the file.
    generator.save(Path(training.folder) / CHECKPOINT)
    if training.keep_gradients and generator.is_first:
        save_file(generator.gradients(), Path(training.folder) / GRADIENTS)
