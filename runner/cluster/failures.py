"""Decide which failed stages are run again: those that lost their node or process, or ran out of memory.

The store has everything that a stage has made, so a stage that is run again continues from there. An error that the
stage itself raised is final, because the next attempt would raise the same error.
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
from goodshot.runner.cluster.silence import StoodStill
from goodshot.runner.stages.base import NodeLeaves


class NoCuda(GoodshotError):
    """Ray gave a stage a GPU on a node where torch finds no CUDA.

    node: the Ray id of the node.
    """

    def __init__(self, message: str, node: str) -> None:
        super().__init__(message, node)
        self.node = node

    def __str__(self) -> str:
        return str(self.args[0])


class FaultyNode(GoodshotError):
    """Ray gave a stage to a node that has joined during the run and has a fault."""


class NeverRan(GoodshotError):
    """A job failed before the gate let it begin, on a node that may have other code installed.

    original: the exception that the job raised.
    """

    def __init__(self, original: BaseException) -> None:
        super().__init__(str(original))
        self.original = original


class GPUMemoryFull(GoodshotError):
    """A stage that shared a GPU with other stages ran out of GPU memory."""


NODE = "a node was lost"
STOOD_STILL = "it stood still"
PROCESS = "a process was lost"
MEMORY = "memory ran out"
GPU_MEMORY = "its share of a GPU was full"
NO_CUDA = "a node had no CUDA"
FAULTY = "a node had a fault"
LEAVING = "a node was to be taken away"
UNBEGUN = "it failed before it began"
LIMITS = {
    NODE: 20,
    PROCESS: 3,
    MEMORY: 3,
    GPU_MEMORY: 1,
    NO_CUDA: 20,
    FAULTY: 20,
    LEAVING: 20,
    UNBEGUN: 2,
    STOOD_STILL: 2,
}
"""How often a stage is run again for each reason. A stage whose process dies or runs out of memory in four attempts
would probably fail again. A stage does not cause the loss of a node, and clouds often end spot machines, so the limit
for lost nodes only ends a run that loses nodes all the time. A stage that does not fit in its share of a GPU is run
once more with a whole GPU. Every node without CUDA is excluded."""
PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 30.0
"""Pause before the second attempt, and the longest pause. It doubles each time, as Ray notices a lost node late."""
NOTICE_SECONDS = 30.0
"""Maximum time between noticing the loss of a process and that of its node, for which Ray needs 15 s by default."""
_OWN: Mapping[type[BaseException], str] = {
    NoCuda: NO_CUDA,
    GPUMemoryFull: GPU_MEMORY,
    FaultyNode: FAULTY,
    NodeLeaves: LEAVING,
    NeverRan: UNBEGUN,
    StoodStill: STOOD_STILL,
}
_LOST = (
    RayActorError, WorkerCrashedError, NodeDiedError, ObjectLostError, OutOfMemoryError, LocalRayletDiedError, RpcError,
)  # fmt: skip
_WORDS_OF_A_NODE = ("node has died", "node was terminated", "node is dead", "raylet")
_WORDS_OF_MEMORY = ("due to high memory usage", "memory monitor", "killed by the ray oom")


def cause_of(error: BaseException) -> BaseException:
    """Return the stage's own exception or Ray's; if a task's input could not be computed, the input's exception."""
    return error.cause if isinstance(error, RayTaskError) else error


def reason_of(error: BaseException) -> str | None:
    """Return why a stage was lost, as a key of :data:`LIMITS`; None if the stage itself raised the error."""
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
    """Counts the failed attempts of one stage by reason, and decides when the stage is not run again.

    Args:
        node_losses: the times, on the monotonic clock, at which the loss of a node was noticed. The caller adds times
            during the run.
    """

    def __init__(self, node_losses: Sequence[float]) -> None:
        self._node_losses, self._began = node_losses, time.monotonic()
        self._failures: list[tuple[str, float, float]] = []

    @property
    def reasons(self) -> Counter[str]:
        """How often the stage was run again, by reason."""
        return Counter(self._explained(*failure) for failure in self._failures)

    @property
    def needs_whole_gpu(self) -> bool:
        """Whether an attempt ran out of the memory of its share of a GPU."""
        return self.reasons[GPU_MEMORY] > 0

    @property
    def pause(self) -> float:
        """Seconds to wait before the next attempt."""
        return min(LONGEST_PAUSE_SECONDS, PAUSE_SECONDS * 2.0 ** (len(self._failures) - 1))

    def lost(self, error: BaseException) -> None:
        """Count a failure. Raises the stage's own error, or GoodshotError if the limit of the reason is reached."""
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
        """Return the reason of a failure; a lost process becomes a lost node once the loss of a node is noticed."""
        went_with_node = any(began <= loss <= ended + NOTICE_SECONDS for loss in self._node_losses)
        return NODE if reason == PROCESS and went_with_node else reason
