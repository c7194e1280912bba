"""Train one generator in several processes with Ray Train, which share the originals of each training step.

Worker r of W processes the originals at positions r, r + W, … of each step. Accelerate averages the gradients in the
process group that Ray Train sets up (gloo on CPUs, nccl on GPUs). All workers hold the same weights; worker 0 writes
the weights to a file. The worker processes and their group start once per training. Between two scored iterations, the
workers wait for the next order, while the process that started the workers samples and embeds images.

Several workers are worthwhile for supports with many originals (``shots: full``). One original cannot be divided,
because eq. 3 needs all its views. The gradient equals that of a single process up to rounding. Rounding may change a
codebook index or a choice that follows from the index, so the number of workers is part of a training's identity.
"""

from __future__ import annotations

import json
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from goodshot.components.errors import BadInput, GoodshotError
from goodshot.components.heartbeat import beat
from goodshot.runner.stages.generator import GeneratorSpec

if TYPE_CHECKING:
    from goodshot.components.generator.generator import Generator
    from goodshot.components.generator.training import StepLosses

CHECKPOINT = "generator.safetensors"
GRADIENTS = "gradients.safetensors"
LOSSES = "losses.json"
START = "start.safetensors"
LOOK_SECONDS = 1.0
"""Pause between two checks whether a worker has failed."""
END_SECONDS = 30.0
"""Time limit for the processes to end after their training."""


@dataclass(frozen=True)
class Order:
    """An instruction to the workers: train until the generator has had ``to`` updates in total.

    keep_gradients: whether worker 0 also writes the gradients of the next step.
    """

    to: int
    keep_gradients: bool = False


@dataclass
class Workers:
    """The processes that train generators together, one generator at a time. A context manager that ends them.

    cpus, gpus: the CPUs and GPUs that each process reserves.
    node: the IP address of the node to run on, which must be the caller's node because the workers and the caller
    exchange files; None for any node.
    """

    count: int
    cpus: float = 1
    gpus: float = 0
    node: str | None = None
    _group: Group | None = field(default=None, init=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *reason: object) -> None:
        self.close()

    @property
    def threads(self) -> int:
        """The number of CPU threads of each process."""
        return max(1, int(self.cpus))

    def train(self, spec: GeneratorSpec, generator: Generator, to: int) -> list[StepLosses]:
        """Train ``generator`` up to ``to`` updates in total; returns the losses of the new steps.

        The workers continue from the generator's state, and afterwards the generator has the state of the workers. The
        processes are kept for a next call that continues the same training.

        Raises:
            BadInput: a training step has fewer originals than there are workers.
            GoodshotError: a worker failed; the message ends with the last line of its error.
        """
        if to <= generator.iteration:
            return []
        if self._group is None or not self._group.continues(spec, generator):
            self.close()
            self._group = Group(self, spec, generator)
        try:
            return self._group.follow(Order(to), generator)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the processes."""
        if self._group is not None:
            self._group.close()
            self._group = None


class Group:
    """The running processes of one training, and their state.

    Args:
        generator: the state with which the processes begin.

    Raises:
        BadInput: a training step has fewer originals than there are workers.
    """

    def __init__(self, workers: Workers, spec: GeneratorSpec, generator: Generator) -> None:
        from ray.util.queue import Queue

        originals = min(len(spec.originals), spec.config.originals_per_step)
        if workers.count > originals:
            raise BadInput(
                f"{workers.count} workers share a step's originals, of which there are {originals}; use fewer workers"
            )
        self._workers, self._spec, self._iteration = workers, spec, generator.iteration
        self._temporary = tempfile.TemporaryDirectory()
        self.folder = Path(self._temporary.name)
        generator.save(self.folder / START)
        # Each worker has a queue, because every worker has to receive every order.
        self._orders = [Queue(actor_options={"num_cpus": 0}) for _ in range(workers.count)]
        self._followed = Queue(actor_options={"num_cpus": 0})
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._fit, name="training workers", daemon=True)
        self._thread.start()

    def continues(self, spec: GeneratorSpec, generator: Generator) -> bool:
        """Return whether the processes hold the state of this generator."""
        return spec is self._spec and generator.iteration == self._iteration and self._thread.is_alive()

    def follow(self, order: Order, generator: Generator) -> list[StepLosses]:
        """Let the workers follow an order, and load their state into ``generator``. Returns the new steps' losses."""
        from goodshot.components.generator.training import StepLosses

        for orders in self._orders:
            orders.put(order)
        self._wait()
        generator.restore(self.folder / CHECKPOINT)
        self._iteration = generator.iteration
        losses = json.loads((self.folder / LOSSES).read_text())
        return [StepLosses(**dict(zip(losses, row, strict=True))) for row in zip(*losses.values(), strict=True)]

    def close(self) -> None:
        """End the processes, and delete their files."""
        for orders in self._orders:
            if self._thread.is_alive():
                orders.put(None)
        self._thread.join(END_SECONDS)
        for queue in (*self._orders, self._followed):
            queue.shutdown(force=True)
        self._temporary.cleanup()

    def _wait(self) -> None:
        """Wait until worker 0 has written its state, or a worker has failed."""
        from ray.util.queue import Empty

        while True:
            try:
                self._followed.get(timeout=LOOK_SECONDS)
                return
            except Empty:
                beat()  # the workers are other processes, which Ray Train watches
                if not self._thread.is_alive():
                    line = str(self._error or "they ended").strip().splitlines()[-1]
                    raise GoodshotError(
                        f"one of {self._workers.count} training workers failed: {line}"
                    ) from self._error

    def _fit(self) -> None:
        """Run the workers until their last order. Runs in a thread, because Ray Train blocks until the workers end."""
        from ray.train import RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        workers = self._workers
        per_worker = {"CPU": workers.cpus, **({"GPU": workers.gpus} if workers.gpus else {})}
        if workers.node is not None:
            per_worker[f"node:{workers.node}"] = 0.001
        loop = {
            "spec": self._spec,
            "folder": str(self.folder),
            "orders": self._orders,
            "followed": self._followed,
            "gpus": bool(workers.gpus),
            "threads": workers.threads,
        }
        try:
            with tempfile.TemporaryDirectory() as ray_folder:
                TorchTrainer(
                    _work,
                    train_loop_config=loop,
                    torch_config=TorchConfig(backend="nccl" if workers.gpus else "gloo"),
                    scaling_config=ScalingConfig(
                        num_workers=workers.count, use_gpu=bool(workers.gpus), resources_per_worker=per_worker
                    ),
                    run_config=RunConfig(storage_path=ray_folder, name="generator"),
                ).fit()
        except Exception as error:
            self._error = error


def _work(arguments: dict[str, Any]) -> None:
    """Run the loop of one worker: follow orders until None arrives. Accelerate uses the process group of Ray Train."""
    import ray.train
    from safetensors.torch import save_file

    from goodshot.components.generator.training import columns
    from goodshot.runner.cluster.connection import start_worker

    start_worker(arguments["threads"])
    folder = Path(arguments["folder"])
    generator = arguments["spec"].build("cuda" if arguments["gpus"] else "cpu").restore(folder / START)
    orders = arguments["orders"][ray.train.get_context().get_world_rank()]
    while (order := orders.get()) is not None:
        losses = generator.advance(order.to)
        # Every worker calls save(), because it checks the next step's gradients, which all workers compute together.
        # Worker 0 writes the file.
        generator.save(folder / CHECKPOINT)
        if generator.is_first:
            (folder / LOSSES).write_text(json.dumps(columns(losses)))
            if order.keep_gradients:
                save_file(generator.gradients(), folder / GRADIENTS)
            arguments["followed"].put(None)
