"""Which failures of a stage are not its own: its node, its process or its memory was lost, so that it is run again.

Everything that a stage has made is in the store, so running it again continues where it was. An error that the stage
itself raised is none of these: it would be raised again.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence

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
from goodshot.runner.stages.base import NodeLeaves


class NoCuda(GoodshotError):
    """A stage was given a GPU on a node where torch finds no CUDA.

    node: Ray's id of the node.
    """

    def __init__(self, message: str, node: str) -> None:
        super().__init__(message, node)
        self.node = node

    def __str__(self) -> str:
        return str(self.args[0])


class FaultyNode(GoodshotError):
    """A stage was given to a node that joined the run with a fault."""


class NeverRan(GoodshotError):
    """A job failed before its node had let it begin, where other code may be installed.

    original: what was raised there.
    """

    def __init__(self, original: BaseException) -> None:
        super().__init__(str(original))
        self.original = original


class GPUMemoryFull(GoodshotError):
    """A stage that shared a GPU with others found its memory full."""


NODE = "a node was lost"
PROCESS = "a process was lost"
MEMORY = "memory ran out"
GPU_MEMORY = "its share of a GPU was full"
NO_CUDA = "a node had no CUDA"
FAULTY = "a node had a fault"
LEAVING = "a node was to be taken away"
UNBEGUN = "it failed before it began"
LIMITS = {NODE: 20, PROCESS: 3, MEMORY: 3, GPU_MEMORY: 1, NO_CUDA: 20, FAULTY: 20, LEAVING: 20, UNBEGUN: 2}
"""How often a stage is run again for each reason. A process that dies, or needs more memory than its node has, on the
fourth attempt too, would do so again. A lost node is no fault of the stage, and spot machines are taken away often; the
limit only ends a run whose cluster never lasts. A whole GPU cannot be made larger, and every node without CUDA is
excluded."""
PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 30.0
"""Pause before the second attempt, which doubles each time: Ray takes a while to know that a node is gone."""
NOTICE_SECONDS = 30.0
"""How long after a process the loss of its node may be noticed: Ray takes a quarter of a minute by default."""
_OWN: Mapping[type[BaseException], str] = {
    NoCuda: NO_CUDA,
    GPUMemoryFull: GPU_MEMORY,
    FaultyNode: FAULTY,
    NodeLeaves: LEAVING,
    NeverRan: UNBEGUN,
}
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
    if type(lost) in _OWN:
        return _OWN[type(lost)]
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
    """Counts why one stage was lost, and says when it is not run again.

    Args:
        node_losses: the times of the monotonic clock at which a node was found to be lost, which are added meanwhile.
    """

    def __init__(self, node_losses: Sequence[float]) -> None:
        self._node_losses, self._began = node_losses, time.monotonic()
        self._failures: list[tuple[str, float, float]] = []

    @property
    def reasons(self) -> Counter[str]:
        """Why the stage was run again, by the number of times."""
        return Counter(self._explained(*failure) for failure in self._failures)

    @property
    def needs_whole_gpu(self) -> bool:
        """Whether a share of a GPU was too little."""
        return self.reasons[GPU_MEMORY] > 0

    @property
    def pause(self) -> float:
        """Seconds to wait before the next attempt."""
        return min(LONGEST_PAUSE_SECONDS, PAUSE_SECONDS * 2.0 ** (len(self._failures) - 1))

    def lost(self, error: BaseException) -> None:
        """Count a failure. Raises the error of the stage, or GoodshotError beyond the limit."""
        reason = reason_of(error)
        if reason is None:
            raise error
        failure = reason, self._began, time.monotonic()
        self._began = failure[-1]
        reason = self._explained(*failure)
        if self.reasons[reason] >= LIMITS[reason]:
            if isinstance(error, NeverRan):
                raise error.original
            line = next(iter(str(cause_of(error)).strip().splitlines()), type(error).__name__)
            raise GoodshotError(f"run {LIMITS[reason] + 1} times, and each time {reason}: {line}") from error
        self._failures.append(failure)

    def _explained(self, reason: str, began: float, ended: float) -> str:
        """The reason of a failure, as far as is known by now: a lost process is noticed before its lost node."""
        went_with_node = any(began <= loss <= ended + NOTICE_SECONDS for loss in self._node_losses)
        return NODE if reason == PROCESS and went_with_node else reason
