"""The interface of a stage: one step of a plan, with a key, a version and inputs, which any executor can run.

A :class:`Stage` is frozen data that can be sent to another process, with a ``run`` method. The plan holds stages by
their ``id``; an executor (:mod:`goodshot.runner.executor.local` or :mod:`goodshot.runner.cluster`) runs the inputs of a
stage and then the stage itself, once.

A stage whose artifact is made by another stage names that other stage as its ``producer``. A training, for example, is
the producer of its image sets: one run of the training makes all requested image sets. It announces each image set as
soon as that is committed to the store, while it trains on towards the next.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

from goodshot.components.errors import GoodshotError
from goodshot.runner.declaration.fields import Declaration
from goodshot.runner.declaration.resources import Resources
from goodshot.runner.stages.need import Need
from goodshot.runner.store.artifacts import Store

if TYPE_CHECKING:
    from goodshot.components.generator.generator import Generator
    from goodshot.components.generator.training import StepLosses

T = TypeVar("T")
TrainTogether = Callable[[Any, "Generator", int], "list[StepLosses]"]
"""Trains a generator up to a number of updates in several processes, given the generator's spec, the generator and that
number."""
Takes = Literal["driver", "cpu", "generator", "detector"]
"""The resources that a stage needs. ``driver``: none of a node, because the stage runs in the driver's process;
``cpu``: one CPU; ``generator`` and ``detector``: the CPUs and GPUs that the study's resources declare for them."""
WARM = 2
"""Number of objects that a process keeps between stages; the least recently used one is dropped first."""


@dataclass(frozen=True, slots=True)
class Support:
    """The chosen originals of one category: the key of their shard, their ids and their content hashes."""

    shard: str
    ids: tuple[str, ...]
    content: tuple[str, ...]


@dataclass(frozen=True)
class Work:
    """A number of units of one kind of work; :mod:`goodshot.runner.stages.costs` keeps the seconds per unit."""

    kind: str
    units: float


class Warm(Generic[T]):
    """At most ``most`` objects that a process keeps from one stage to the next, for example trained generators."""

    def __init__(self, most: int = WARM) -> None:
        self._most = most
        self._objects: OrderedDict[Hashable, T] = OrderedDict()

    def take(self, key: Hashable) -> T | None:
        """Remove and return the object; None if there is none."""
        return self._objects.pop(key, None)

    def keep(self, key: Hashable, value: T | None) -> None:
        """Keep an object until newer ones displace it. None is not kept."""
        if value is not None:
            self._objects[key] = value
        while len(self._objects) > self._most:
            self._objects.popitem(last=False)


class SharedValue(ABC):
    """Decoded or embedded data that several stages read. It is loaded once; with Ray once per node.

    Shared values are compared and hashed, so that equal values are loaded once.
    """

    takes: ClassVar[Literal["nothing", "cpu", "detector"]] = "nothing"
    """The resources that loading needs: ``detector`` means those of the stage that reads the value."""

    @property
    def inputs(self) -> tuple[SharedValue, ...]:
        """The shared values that this one is computed from."""
        return ()

    @abstractmethod
    def load(self, store: Store, inputs: Sequence[Any], device: str, threads: int) -> Any:
        """Load the value with ``threads`` threads. ``inputs`` are the loaded values of :attr:`inputs`, in order."""


class NodeLeaves(GoodshotError):
    """Raised by a stage that has saved its state and ended early, because its node will be taken away."""


def _stays() -> bool:
    """The default of a :class:`Context`: the node stays."""
    return False


def _ignore(*_: Any) -> None:
    """Discard a report: the default callback of a :class:`Context`."""


@dataclass
class Context:
    """The services that an executor offers to a running stage.

    store: the store that artifacts are read from and committed to.
    read: loads a shared value, or returns the one already loaded.
    device: ``cpu`` or ``cuda``.
    announce: callback (key), called for each artifact that is committed before the stage has finished.
    stepped: callback (updates so far, new updates, their seconds), called by a training every few updates.
    measured: callback (kind of work, seconds, units), called for the cost estimates of later plans.
    leaving: whether this node will be taken away. A long stage that keeps checkpoints asks now and then, saves one, and
        raises :class:`NodeLeaves`; it continues on another node.
    train_together: trains a generator in several processes; None to train in this process alone.
    warm: objects that this process keeps for the next stage.
    """

    store: Store
    read: Callable[[SharedValue], Any]
    device: str = "cpu"
    announce: Callable[[str], object] = _ignore
    stepped: Callable[[int, int, float], object] = _ignore
    measured: Callable[[str, float, float], object] = _ignore
    leaving: Callable[[], bool] = _stays
    train_together: TrainTogether | None = None
    warm: Warm[Any] = field(default_factory=Warm)


@dataclass(frozen=True, kw_only=True)
class Stage(ABC):
    """One step of the plan, whose result is an artifact in the store.

    key: the key of its artifact in the store.
    resources: the resources of the first study that planned the stage; stages that are equal but for these are one.
    """

    kind: ClassVar[str]
    """The stage's name in fingerprints and in the counts of executed stages."""
    title: ClassVar[str]
    """The stage's name in tables."""
    version: ClassVar[int]
    """The version of the code, increased with every change that changes the result."""
    takes: ClassVar[Takes] = "cpu"
    is_artifact: ClassVar[bool] = True
    """Whether the stage commits an artifact at its key; a training commits only below its key."""
    is_generator: ClassVar[bool] = False
    """Whether the stage trains a generator, which ``resources.generator_workers`` processes may do together. Plans
    count such stages, and a search runs as many points at once as the resources allow for them."""
    computes: ClassVar[bool] = True
    """Whether the stage needs torch, whose import takes seconds."""

    key: str
    resources: Resources = field(default=Resources(), compare=False, repr=False)

    @classmethod
    def needs(cls, study: Declaration) -> Iterator[Need]:
        """The files besides photographs that the stage loads in a study: pretrained weights, a user's own files.

        These files are checked before anything is planned, so that a missing weight is reported before work begins.
        """
        return iter(())

    @property
    def id(self) -> str:
        """The stage's name in the plan."""
        return self.key

    @property
    def inputs(self) -> tuple[str, ...]:
        """Ids of the stages that have to run before this one."""
        return ()

    @property
    def producer(self) -> str:
        """Id of the stage that makes this stage's artifact; by default the stage itself."""
        return self.id

    @property
    def reads(self) -> tuple[SharedValue, ...]:
        """The shared values that the stage reads."""
        return ()

    @property
    def home(self) -> str | None:
        """Stages with the same home run in one process, which keeps objects for them; None: any process may run it."""
        return None

    def label(self, wanted: Sequence[Stage]) -> str:
        """A text for users about one run of the stage: its kind, and its difference from others of the kind."""
        return self.kind

    def is_made(self, store: Store) -> bool:
        """Whether the stage's artifact is in the store."""
        return store.has(self.key)

    def steps(self, wanted: Sequence[Stage]) -> int:
        """The number of training steps that making the products ``wanted`` needs from scratch."""
        return 0

    def work(self, wanted: Sequence[Stage], device: str) -> Sequence[Work]:
        """The work that making the products ``wanted`` needs on ``device``: the cost model of the stage."""
        return ()

    def disk(self, wanted: Sequence[Stage]) -> int:
        """Approximate number of bytes that making the products ``wanted`` adds to the store."""
        return 0

    def memory_kind(self) -> str | None:
        """The kind of work under which the stage's peak GPU memory is recorded; None if the stage uses no GPU."""
        return None

    @abstractmethod
    def run(self, context: Context, wanted: Sequence[Stage]) -> Any:
        """Commit the artifacts of ``wanted``: the stage itself, or stages of which it is the producer."""


def load_value(value: SharedValue, store: Store, device: str = "cpu", threads: int = 1) -> Any:
    """Load a shared value and its inputs in this process."""
    inputs = [load_value(input_, store, device, threads) for input_ in value.inputs]
    return value.load(store, inputs, device, threads)
