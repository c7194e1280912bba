"""Which failures of a stage are not its own: its node, its process or its memory was lost, so that it is run again.

Everything that a stage has made is in the store, so running it again continues where it was. An error that the stage
itself raised is none of these: it would be raised again.
"""

from __future__ import annotations

from collections import Counter

from ray.exceptions import (
    LocalRayletDiedError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayActorError,
    RayTaskError,
    RpcError,
    WorkerCrashedError,
)

from goodshot.components.errors import GoodshotError


class NoCuda(GoodshotError):
    """A stage was given a GPU on a node where torch finds no CUDA.

    node: Ray's id of the node.
    """

    def __init__(self, message: str, node: str) -> None:
        super().__init__(message, node)
        self.node = node

    def __str__(self) -> str:
        return str(self.args[0])


class GPUMemoryFull(GoodshotError):
    """A stage that shared a GPU with others found its memory full."""


NODE = "a node was lost"
PROCESS = "a process was lost"
MEMORY = "memory ran out"
GPU_MEMORY = "its share of a GPU was full"
NO_CUDA = "a node had no CUDA"
LIMITS = {NODE: 20, PROCESS: 3, MEMORY: 3, GPU_MEMORY: 1, NO_CUDA: 20}
"""How often a stage is run again for each reason. A process that dies, or needs more memory than its node has, on the
fourth attempt too, would do so again. A lost node is no fault of the stage, and spot machines are taken away often; the
limit only ends a run whose cluster never lasts. A whole GPU cannot be made larger, and every node without CUDA is
excluded."""
PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 30.0
"""Pause before the second attempt, which doubles each time: Ray takes a while to know that a node is gone."""
_LOST = (
    RayActorError, WorkerCrashedError, NodeDiedError, ObjectLostError, OutOfMemoryError, LocalRayletDiedError, RpcError,
)  # fmt: skip
_WORDS_OF_A_NODE = ("node has died", "node was terminated", "node is dead", "raylet")
_WORDS_OF_MEMORY = ("due to high memory usage", "memory monitor", "killed by the ray oom")


def cause_of(error: BaseException) -> BaseException:
    """What a stage raised, or how it was lost; of a task whose input could not be computed, the input's error."""
    return error.cause if isinstance(error, RayTaskError) else error


def reason_of(error: BaseException) -> str | None:
    """Why a stage was lost: a key of :data:`LIMITS`; None if the stage itself raised the error."""
    lost = cause_of(error)
    if isinstance(lost, NoCuda | GPUMemoryFull):
        return NO_CUDA if isinstance(lost, NoCuda) else GPU_MEMORY
    if not isinstance(lost, _LOST) or getattr(lost, "actor_init_failed", False):
        return None
    if isinstance(lost, OutOfMemoryError) or _was_killed_for_memory(str(lost)):
        return MEMORY
    if isinstance(lost, NodeDiedError | ObjectLostError | LocalRayletDiedError) or getattr(lost, "preempted", False):
        return NODE
    return NODE if any(words in str(lost) for words in _WORDS_OF_A_NODE) else PROCESS


def _was_killed_for_memory(text: str) -> bool:
    # Ray mentions the kernel's OOM killer among the possible causes of every dead process.
    told = text.lower().partition("some common causes include")[0]
    return any(words in told for words in _WORDS_OF_MEMORY)


class Attempts:
    """Counts why one stage was lost, and says when it is not run again."""

    def __init__(self) -> None:
        self._lost: Counter[str] = Counter()

    @property
    def needs_whole_gpu(self) -> bool:
        """Whether a share of a GPU was too little."""
        return self._lost[GPU_MEMORY] > 0

    @property
    def pause(self) -> float:
        """Seconds to wait before the next attempt."""
        return min(LONGEST_PAUSE_SECONDS, PAUSE_SECONDS * 2.0 ** (self._lost.total() - 1))

    def lost(self, error: BaseException) -> str:
        """Count a failure and return its reason. Raises the error of the stage, or GoodshotError beyond the limit."""
        reason = reason_of(error)
        if reason is None:
            raise error
        self._lost[reason] += 1
        if self._lost[reason] > LIMITS[reason]:
            line = next(iter(str(cause_of(error)).strip().splitlines()), type(error).__name__)
            raise GoodshotError(f"run {self._lost[reason]} times, and each time {reason}: {line}") from error
        return reason
