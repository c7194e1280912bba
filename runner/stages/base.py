"""What a stage is: a step with a key, versions and inputs, which any executor can run.

A :class:`Stage` is plain data that can be sent to another process, and a ``run`` method. The plan holds stages by
their ``id``; an executor (:mod:`runner.executor.local` or :mod:`runner.cluster`) makes a stage's inputs and then
the stage, once.

A stage whose artifact is made by another stage names that one as its ``producer``. A training, for example, is the
producer of its image sets: it is run with all image sets that are wanted of it, and announces each as soon as it is in
the store, while it goes on to the next.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

from runner.declaration.resources import Resources
from runner.store.artifacts import Store

if TYPE_CHECKING:
    from components.generator.generator import Generator
    from components.generator.training import StepLosses

T = TypeVar("T")
Takes = Literal["driver", "cpu", "generator", "detector"]
"""Where a stage runs and what it takes: ``driver`` runs in the driver's process and takes nothing of a node, ``cpu``
takes one CPU, ``generator`` and ``detector`` take what the study's resources say."""
WARM = 2
"""Objects that a process keeps from one stage to the next; the least recently used one goes first."""


@dataclass(frozen=True, slots=True)
class Support:
    """The chosen originals of one category: the key of their shard, their ids and their content hashes."""

    shard: str
    ids: tuple[str, ...]
    content: tuple[str, ...]


@dataclass(frozen=True)
class Work:
    """So many units of one kind of work; seconds a unit are measured by kind (:mod:`runner.stages.costs`)."""

    kind: str
    units: float


class Warm(Generic[T]):
    """The objects that a process keeps in memory from one stage to the next, for example trained generators."""

    def __init__(self, most: int = WARM) -> None:
        self._most = most
        self._held: OrderedDict[Hashable, T] = OrderedDict()

    def take(self, key: Hashable) -> T | None:
        """Remove and return the object; None if there is none."""
        return self._held.pop(key, None)

    def keep(self, key: Hashable, value: T | None) -> None:
        """Keep an object until others are used more recently."""
        if value is not None:
            self._held[key] = value
        while len(self._held) > self._most:
            self._held.popitem(last=False)


class SharedValue(ABC):
    """Something decoded or embedded that several stages read, loaded once: on Ray once for a node.

    Values are compared and hashed: equal values are loaded once.
    """

    takes: ClassVar[Literal["nothing", "cpu", "detector"]] = "nothing"
    """What loading it takes of a node: ``detector`` takes as much as the stage that reads it."""

    @property
    def inputs(self) -> tuple[SharedValue, ...]:
        """The values that it is made of."""
        return ()

    @abstractmethod
    def load(self, store: Store, inputs: Sequence[Any], device: str, threads: int) -> Any:
        """Load it. ``inputs`` are the loaded values of :attr:`inputs`, in order."""


def _ignore(*_: Any) -> None:
    """What nobody wants to be told."""


@dataclass
class Context:
    """What an executor gives to a running stage.

    store: where artifacts go.
    read: a shared value → its content.
    device: ``cpu`` or ``cuda``.
    announce: told the key of each artifact that is in the store while the stage goes on.
    stepped: told of the updates that a training has made by now, of those just made, and of their seconds.
    measured: told the kind, the seconds and the units of work done, for prices.
    train_together: brings a generator to a number of updates by several processes; None to train in this one alone.
    warm: what this process keeps for the next stage.
    """

    store: Store
    read: Callable[[SharedValue], Any]
    device: str = "cpu"
    announce: Callable[[str], object] = _ignore
    stepped: Callable[[int, int, float], object] = _ignore
    measured: Callable[[str, float, float], object] = _ignore
    train_together: Callable[[Any, Generator, int], list[StepLosses]] | None = None
    warm: Warm[Any] = field(default_factory=Warm)


@dataclass(frozen=True, kw_only=True)
class Stage(ABC):
    """One step of the plan, whose result is an artifact of the store.

    key: where its artifact lies in the store.
    resources: those of the study that asked for it first; never part of an identity.
    """

    kind: ClassVar[str]
    """Its name in fingerprints and in the account of executed stages."""
    title: ClassVar[str]
    """Its name in tables."""
    version: ClassVar[int]
    """Raised whenever its code changes what it returns."""
    takes: ClassVar[Takes] = "cpu"
    is_artifact: ClassVar[bool] = True
    """Whether its result is committed at its key; a training only commits below it."""
    trains: ClassVar[bool] = False
    """Whether it trains a network: several processes can share it, and plans count it as a training."""
    computes: ClassVar[bool] = True
    """Whether it needs torch, which takes a process seconds to import."""

    key: str
    resources: Resources = field(default=Resources(), compare=False, repr=False)

    @property
    def id(self) -> str:
        """Its name in the plan."""
        return self.key

    @property
    def inputs(self) -> tuple[str, ...]:
        """Ids of the stages that have to be made before it."""
        return ()

    @property
    def producer(self) -> str:
        """Id of the stage that makes its artifact: by default its own."""
        return self.id

    @property
    def reads(self) -> tuple[SharedValue, ...]:
        """The shared values that it reads."""
        return ()

    @property
    def home(self) -> str | None:
        """Stages with one home run in one process, which keeps objects warm for them; None for any process."""
        return None

    def is_made(self, store: Store) -> bool:
        """Whether its artifact is in the store."""
        return store.has(self.key)

    def steps(self, wanted: Sequence[Stage]) -> int:
        """Training steps that it takes to make these products from the beginning."""
        return 0

    def work(self, wanted: Sequence[Stage], device: str) -> Sequence[Work]:
        """What it takes to make these products: its cost model."""
        return ()

    def disk(self, wanted: Sequence[Stage]) -> int:
        """Bytes that making these products adds to the store, about."""
        return 0

    def memory_kind(self) -> str | None:
        """The kind of work by which its peak of GPU memory is measured; None if it uses no GPU."""
        return None

    @abstractmethod
    def run(self, context: Context, wanted: Sequence[Stage]) -> Any:
        """Commit the artifacts of ``wanted``: its own, or those of which it is the producer."""


def load_value(value: SharedValue, store: Store, device: str = "cpu", threads: int = 1) -> Any:
    """Load a shared value and what it is made of, in this process."""
    inputs = [load_value(each, store, device, threads) for each in value.inputs]
    return value.load(store, inputs, device, threads)
