"""One generator trained by several processes: the same loop under Ray Train, a step's originals shared among them.

Worker r of W takes the originals at positions r, r + W, … of each step; Accelerate averages gradients in the process
group that Ray Train sets up (gloo on CPUs, nccl on GPUs). Every worker holds the same weights; the first writes them.

It pays where a support has many originals (``shots: full``): one original cannot be shared, because eq. 3 needs all its
views. The gradient is that of one worker with the whole step up to rounding, without a discriminator; with one, batch
normalisation and the adaptive weight look at each worker's part alone.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import BadInput, GoodshotError
from runner.stages.training import GeneratorSpec

if TYPE_CHECKING:
    from components.generator.generator import Generator
    from components.generator.training import StepLosses

CHECKPOINT = "generator.safetensors"
GRADIENTS = "gradients.safetensors"
LOSSES = "losses.json"
START = "start.safetensors"


@dataclass(frozen=True)
class SharedTraining:
    """A training for several workers.

    Args:
        spec: what the generator is built of.
        folder: where the first worker writes the checkpoint; the same for all workers.
        keep_gradients: write the gradients of the step that would come next too.
        start: a checkpoint in ``folder`` to go on from.
    """

    spec: GeneratorSpec
    iterations: int
    folder: str
    keep_gradients: bool = False
    start: str | None = None


@dataclass(frozen=True)
class Workers:
    """The processes that train one generator together: how many, and what each takes of a node.

    node: the address of the node that they run on, which is the one of the process that asks: they exchange files.
    """

    count: int
    cpus: float = 1
    gpus: float = 0
    node: str | None = None

    @property
    def threads(self) -> int:
        """What each computes with on the CPU."""
        return max(1, int(self.cpus))

    def train(self, spec: GeneratorSpec, generator: Generator, to: int) -> list[StepLosses]:
        """Bring ``generator`` to ``to`` updates; returns the losses of its steps.

        The workers go on from the generator's own state and it takes over theirs. Starting them costs seconds, so it
        pays for many steps at a time.
        """
        from components.generator.training import StepLosses

        if to <= generator.iteration:
            return []
        with tempfile.TemporaryDirectory() as folder:
            generator.save(Path(folder) / START)
            checkpoint = train_shared(SharedTraining(spec, to, folder, start=START), self)
            generator.restore(checkpoint)
            found = json.loads((Path(folder) / LOSSES).read_text())
        return [StepLosses(**dict(zip(found, row, strict=True))) for row in zip(*found.values(), strict=True)]


def train_shared(training: SharedTraining, workers: Workers) -> Path:
    """Train until ``iterations`` updates on the running Ray cluster. Returns the checkpoint (``Generator.restore``).

    Raises:
        BadInput: more workers than a step has originals.
        GoodshotError: a worker failed; the message is its last line.
    """
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    shared = min(len(training.spec.originals), training.spec.config.originals_per_step)
    if workers.count > shared:
        raise BadInput(
            f"{workers.count} workers share a step's originals, of which there are {shared}; use fewer workers"
        )
    each = {"CPU": workers.cpus, **({"GPU": workers.gpus} if workers.gpus else {})}
    if workers.node is not None:
        each[f"node:{workers.node}"] = 0.001
    with tempfile.TemporaryDirectory() as records:
        trainer = TorchTrainer(
            _work,
            train_loop_config={"training": training, "gpus": bool(workers.gpus), "threads": workers.threads},
            torch_config=TorchConfig(backend="nccl" if workers.gpus else "gloo"),
            scaling_config=ScalingConfig(
                num_workers=workers.count, use_gpu=bool(workers.gpus), resources_per_worker=each
            ),
            run_config=RunConfig(storage_path=records, name="generator"),
        )
        try:
            trainer.fit()
        except Exception as error:
            raise GoodshotError(f"a worker of {workers.count} failed: {str(error).strip().splitlines()[-1]}") from error
    return Path(training.folder) / CHECKPOINT


def _work(arguments: dict[str, Any]) -> None:
    """A worker: the process group is there already, and Accelerate finds it."""
    from safetensors.torch import save_file

    from components.generator.training import columns
    from runner.cluster.connection import start_worker

    start_worker(arguments["threads"])
    training: SharedTraining = arguments["training"]
    generator = training.spec.build("cuda" if arguments["gpus"] else "cpu")
    if training.start is not None:
        generator.restore(Path(training.folder) / training.start)
    losses = generator.advance(training.iterations)
    if generator.is_first:
        (Path(training.folder) / LOSSES).write_text(json.dumps(columns(losses)))
    # By all of them: saving looks at the next step's gradients, which they compute together. The first one writes.
    generator.save(Path(training.folder) / CHECKPOINT)
    if training.keep_gradients and generator.is_first:
        save_file(generator.gradients(), Path(training.folder) / GRADIENTS)
