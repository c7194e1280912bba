"""Make the image sets of one training: train once, score iterations on the way, and commit every requested image set.

Below ``generator/<fingerprint>/`` the store holds checkpoints, named by the number of updates, and similarity traces
(the losses and the embeddings of the scored iterations), named by encoder and sample count. A later call that requests
more iterations continues from the last checkpoint that has a usable trace. An image set whose images were deleted is
made again from the nearest checkpoint.

# S scored iterations, M samples, d embedding size
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from goodshot.components.encoders import Encoder, Precision
from goodshot.components.generator.config import Detail
from goodshot.components.integrator import EMPTY, Choice, Trace, choose
from goodshot.runner.stages.base import Context, NodeLeaves
from goodshot.runner.stages.generator import GeneratorSpec
from goodshot.runner.stages.image_set import ImageSetStage
from goodshot.runner.stages.prompt import cached_encoder, embed, text_embedding
from goodshot.runner.store.artifacts import CHECKPOINT, Store, arrays_bytes

if TYPE_CHECKING:
    from goodshot.components.generator.generator import Generator
    from goodshot.components.generator.training import StepLosses

REPORT_EVERY = 5
CHECKPOINT_SECONDS = 120.0
"""Age of the last checkpoint after which the next scored iteration saves one: a killed process loses at most this much
work and one interval between scored iterations."""


class Training(Protocol):
    """The training whose image sets are made (:class:`goodshot.runner.stages.training.TrainingStage`)."""

    @property
    def key(self) -> str:
        """The store key below which its checkpoints and traces lie."""

    @property
    def scoring(self) -> str:
        """Digest of all options that the embeddings of a trace depend on."""

    @property
    def score_every(self) -> int:
        """Number of iterations from one scored iteration to the next."""

    @property
    def samples(self) -> int:
        """Minimum number of samples of each scored iteration."""

    @property
    def encoder(self) -> str:
        """The name of the encoder."""

    @property
    def precision(self) -> Precision:
        """Numeric precision of the encoder."""

    def spec(self, context: Context) -> GeneratorSpec:
        """The specification of its generator."""


class ImageSets:
    """Makes the image sets of one training that the store does not hold yet.

    Args:
        stage: the training.
        image_sets: the requested image sets. Those already in the store provide images for others that choose the
            same iteration.
    """

    def __init__(self, stage: Training, image_sets: Sequence[ImageSetStage], context: Context) -> None:
        self.stage, self.image_sets, self.context = stage, image_sets, context
        self.store = context.store
        self.generator: Generator | None = context.warm.take(stage.key)
        self.missing = [s for s in image_sets if not self.store.has(s.key)]
        self.steps, self.step_seconds, self.scored_images = 0, 0.0, 0
        self._samples: dict[tuple[Detail, int], np.ndarray] = {}
        self._trace_parts: dict[Detail, str] = {}
        self._losses: list[StepLosses] = []
        self._saved_at, self._provisional_checkpoint = time.monotonic(), ""
        self._provisional_traces: list[str] = []
        self._began = time.perf_counter()

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder that embeds the samples."""
        return cached_encoder(self.stage.encoder, self.context.device, self.stage.precision)

    @cached_property
    def spec(self) -> GeneratorSpec:
        """The specification of the generator."""
        return self.stage.spec(self.context)

    def start(self) -> Generator:
        """A fresh generator, before its first update."""
        return self.spec.build(self.context.device)

    def make(self) -> int:
        """Commit every missing image set. Returns the number of training steps executed."""
        if not self.missing:
            return 0
        self._text_embeddings = self._read_text_embeddings()
        self._sample_count = max(self.stage.samples, *(s.copies for s in self.missing))
        self._details: list[Detail] = sorted({s.detail for s in self.missing})
        generator, traces = self._resume()
        self.generator = generator
        last = max(s.iterations for s in self.missing)
        scored = max((int(t.iterations[-1]) for t in traces.values() if len(t.iterations)), default=0)
        requested = {s.iterations for s in self.missing}
        self._commit(generator, traces, [s for s in self.missing if s.iterations <= scored])
        for iteration in range(scored + self.stage.score_every, last + 1, self.stage.score_every):
            self._advance(generator, iteration - 1)
            leaves = iteration < last and self.context.leaving()
            traces = {d: self._score(generator, d, iteration, traces[d]) for d in self._details}
            self._drop_unchosen(traces, iteration)
            if iteration in requested:
                self._save(generator, traces)
                self._commit(generator, traces, [s for s in self.missing if s.iterations == iteration])
            elif leaves or time.monotonic() - self._saved_at > CHECKPOINT_SECONDS:
                self._save(generator, traces, provisional=True)
            if leaves:
                raise NodeLeaves(f"the training was saved after {generator.iteration} updates")
        return self.steps

    def _advance(self, generator: Generator, to: int) -> None:
        """Train until ``to`` updates are made, and report the progress every few updates."""
        while generator.iteration < to:
            began = time.perf_counter()
            if self.context.train_together is not None:
                steps = self.context.train_together(self.spec, generator, to)
            else:
                steps = generator.advance(min(to, generator.iteration + REPORT_EVERY))
            self._losses += steps
            seconds = time.perf_counter() - began
            self.steps, self.step_seconds = self.steps + len(steps), self.step_seconds + seconds
            self.context.stepped(generator.iteration, len(steps), seconds)

    def _score(self, generator: Generator, detail: Detail, iteration: int, trace: Trace) -> Trace:
        """Sample the largest requested set before the update of ``iteration``, and append its embeddings (eq. 4)."""
        images = generator.sample(self._sample_count, detail)
        self._samples[detail, iteration] = images
        self.scored_images += len(images)
        return trace.extended(iteration, embed(self.encoder, images))

    def _drop_unchosen(self, traces: dict[Detail, Trace], iteration: int) -> None:
        """Keep only the latest samples and those that a missing set would choose now: memory must not grow with L."""
        chosen = {
            (s.detail, self._choose(s, traces, iteration).iteration) for s in self.missing if s.iterations >= iteration
        }
        chosen |= {(detail, iteration) for detail in self._details}
        self._samples = {key: images for key, images in self._samples.items() if key in chosen}

    def _choose(self, image_set: ImageSetStage, traces: dict[Detail, Trace], iterations: int) -> Choice:
        text = self._text_embeddings[image_set.prompt, image_set.prompt_kind]
        trace = traces[image_set.detail]
        return choose(trace, text, image_set.copies, iterations, image_set.select)

    def _commit(self, generator: Generator, traces: dict[Detail, Trace], image_sets: Iterable[ImageSetStage]) -> None:
        """Commit image sets, each with its choice and the name of the trace that the choice was made from."""
        for image_set in image_sets:
            choice = self._choose(image_set, traces, image_set.iterations)
            images = self._images(image_set.detail, choice.iteration)[: image_set.copies]
            files = {"images.safetensors": arrays_bytes({"images": images})}
            info = {
                **asdict(choice),
                "copies": image_set.copies,
                "generator": self.stage.key,
                "trace": self._trace_parts[image_set.detail],
                "seconds": time.perf_counter() - self._began,
            }
            self.store.put(image_set.key, files, info)
            self.context.announce(image_set.key)

    def _images(self, detail: Detail, iteration: int) -> np.ndarray:
        """The M samples of a scored iteration: from memory, from another image set in the store, or sampled again."""
        if (detail, iteration) not in self._samples and (stored := self._stored_images(detail, iteration)) is not None:
            self._samples[detail, iteration] = stored
        if (detail, iteration) not in self._samples:
            updates = [u for u in self._checkpoints() if u <= iteration - 1]
            replay = self._restored(max(updates)) if updates else self.start()
            losses, self._losses = self._losses, []  # a replay must not record its losses a second time
            self._advance(replay, iteration - 1)
            self._losses = losses
            self._samples[detail, iteration] = replay.sample(self._sample_count, detail)
        return self._samples[detail, iteration]

    def _stored_images(self, detail: Detail, iteration: int) -> np.ndarray | None:
        """The images of a committed image set of this iteration, if it has enough for every missing set."""
        needed = max(s.copies for s in self.missing)
        for image_set in self.image_sets:
            if image_set.detail == detail and image_set.copies >= needed and self.store.has(image_set.key):
                artifact = self.store.get(image_set.key)
                if artifact.info["iteration"] == iteration:
                    return artifact.arrays("images.safetensors")["images"]
        return None

    def _save(self, generator: Generator, traces: dict[Detail, Trace], provisional: bool = False) -> None:
        """Commit the traces and then the checkpoint, because a checkpoint without its traces cannot be resumed from.

        A ``provisional`` checkpoint only limits the work lost if the process dies; the next save discards it.
        """
        from goodshot.components.generator.training import columns

        losses = {name: np.array(column) for name, column in columns(self._losses).items()}
        for detail, trace in traces.items():
            arrays = {"iterations": trace.iterations, "embeddings": trace.embeddings}
            arrays |= {f"loss_{name}": column for name, column in losses.items()}
            part = f"{self._trace_prefix(detail)}{trace.embeddings.shape[1]:05d}-{int(trace.iterations[-1]):06d}"
            info = {"copies": int(trace.embeddings.shape[1]), "detail": detail}
            self.store.put(f"{self.stage.key}/{part}", {"trace.safetensors": arrays_bytes(arrays)}, info)
            self._trace_parts[detail] = part
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "checkpoint.safetensors"
            generator.save(path)
            part = _checkpoint_part(generator.iteration)
            info = {"updates": generator.iteration, "provisional": provisional}
            self.store.put(f"{self.stage.key}/{part}", {path.name: path.read_bytes()}, info)
        superseded = [self._provisional_checkpoint, *self._provisional_traces] if self._provisional_checkpoint else []
        for name in superseded:
            self.store.discard(f"{self.stage.key}/{name}")
        self._provisional_checkpoint = part if provisional else ""
        self._provisional_traces = list(self._trace_parts.values()) if provisional else []
        self._saved_at = time.monotonic()

    def _resume(self) -> tuple[Generator, dict[Detail, Trace]]:
        """The generator at the last checkpoint with usable traces for every detail, and these; or an untrained one."""
        parts = self.store.parts(self.stage.key)
        last = max(s.iterations for s in self.missing)
        for updates in sorted(self._checkpoints(), reverse=True):
            names = {d: self._usable_trace(parts, d, updates + 1) for d in self._details}
            if updates + 1 > last or not all(names.values()):
                continue
            self._trace_parts = {d: str(name) for d, name in names.items()}
            stored = {d: self.store.get(f"{self.stage.key}/{name}") for d, name in self._trace_parts.items()}
            arrays = {d: artifact.arrays("trace.safetensors") for d, artifact in stored.items()}
            self._losses = _losses_from_columns(next(iter(arrays.values())))
            traces = {d: Trace(a["iterations"], a["embeddings"][:, : self._sample_count]) for d, a in arrays.items()}
            part = _checkpoint_part(updates)
            # This checkpoint was left by a process that ended early: the next checkpoint replaces it.
            if self.store.get(f"{self.stage.key}/{part}").info.get("provisional"):
                self._provisional_checkpoint, self._provisional_traces = part, list(self._trace_parts.values())
            return self._restored(updates), traces
        return self.start(), dict.fromkeys(self._details, EMPTY)

    def _usable_trace(self, parts: Iterable[str], detail: Detail, iteration: int) -> str | None:
        """Name of the smallest stored trace up to ``iteration`` with enough samples; None if there is none."""
        prefix, suffix = self._trace_prefix(detail), f"-{iteration:06d}"
        traces = [p for p in parts if p.startswith(prefix) and p.endswith(suffix)]
        usable = [p for p in traces if int(p.removeprefix(prefix).removesuffix(suffix)) >= self._sample_count]
        return min(usable, default=None)

    def _restored(self, updates: int) -> Generator:
        if self.generator is not None and self.generator.iteration == updates:
            return self.generator
        return restored(self.store, self.stage.key, updates, self.start)

    def _checkpoints(self) -> list[int]:
        return checkpoints(self.store, self.stage.key)

    def _trace_prefix(self, detail: Detail) -> str:
        return f"trace-{self.stage.scoring}-{detail}-"

    def _read_text_embeddings(self) -> dict[tuple[str, str], np.ndarray]:
        """z_t by prompt and kind of prompt, for all missing image sets."""
        embeddings: dict[tuple[str, str], np.ndarray] = {}
        for image_set in self.missing:
            prompt = image_set.prompt, image_set.prompt_kind
            embeddings[prompt] = text_embedding(self.store, *prompt)
        return embeddings


def checkpoints(store: Store, key: str) -> list[int]:
    """The numbers of updates at which the training ``key`` has checkpoints."""
    return [int(p.removeprefix(CHECKPOINT)) for p in store.parts(key) if p.startswith(CHECKPOINT)]


def restored(store: Store, key: str, updates: int, start: Callable[[], Generator]) -> Generator:
    """The generator that ``start`` builds, with the checkpoint of the training ``key`` after ``updates`` updates."""
    artifact = store.get(f"{key}/{_checkpoint_part(updates)}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint.safetensors"
        path.write_bytes(artifact.read(path.name))
        return start().restore(path)


def _checkpoint_part(updates: int) -> str:
    return f"{CHECKPOINT}{updates:06d}"


def _losses_from_columns(arrays: dict[str, np.ndarray]) -> list[StepLosses]:
    """The losses of a trace, one object for each update. A column missing from an old trace gets its default."""
    from goodshot.components.generator.training import StepLosses

    names = [name for name in StepLosses.__dataclass_fields__ if f"loss_{name}" in arrays]
    rows = zip(*(arrays[f"loss_{name}"].tolist() for name in names), strict=True)
    return [StepLosses(**dict(zip(names, row, strict=True))) for row in rows]
