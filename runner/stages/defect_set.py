"""The defect set: defective images with masks that are made on good images, in parts of :data:`PART` images.

Image i is a function of the seed and i, so that a set of fewer images is the beginning of a larger one: sets of any
size share their parts. Parts are made independently of each other, on as many nodes as there are.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from goodshot.runner.stages.base import Context, SharedValue, Stage, Support, Work
from goodshot.runner.stages.defects import GoodImages, Products, SeenDefects
from goodshot.runner.store.artifacts import Store, arrays_bytes
from goodshot.runner.store.fingerprint import fingerprint

if TYPE_CHECKING:
    import numpy as np

    from goodshot.components.defects import DefectImages, Site

PART = 50
"""Number of images in a part: at 256 px they have 10 MB, and a step of 50 DDIM steps each takes a GPU a minute."""
SHOWN = 8
"""Number of first images of a set that the report shows with their good images, which the first part holds too."""
IMAGES = "images.safetensors"


def parts_of(count: int) -> Iterator[range]:
    """The index ranges of the parts of a set of ``count`` images."""
    for start in range(0, count, PART):
        yield range(start, min(start + PART, count))


@dataclass(frozen=True, kw_only=True)
class DefectSetStage(Stage):
    """Make the images ``first`` to ``first + count - 1`` of a defect set.

    support: the originals. defects: the real defective images that may be used.
    """

    kind = "defect_set"
    title = "defective images"
    version = 1

    support: Support
    defects: SeenDefects
    seed: int
    first: int
    count: int

    @property
    def inputs(self) -> tuple[str, ...]:
        """The shard."""
        return (self.support.shard,)

    @property
    def reads(self) -> tuple[SharedValue, ...]:
        """The originals, their product's area and the real defects, all of one size."""
        goods = GoodImages(self.support, self.defects.side)
        return goods, Products(goods), self.defects

    @property
    @abstractmethod
    def maker(self) -> str:
        """The method that makes the images, by its name in the cost model."""

    def label(self, wanted: Sequence[Stage]) -> str:
        """The method that makes the images, and their indices."""
        return f"{self.kind} {self.maker} {self.first}-{self.first + self.count - 1}"

    def work(self, wanted: Sequence[Stage], device: str) -> Sequence[Work]:
        """The images to make."""
        return (Work(self._work_kind(device), self.count),)

    def disk(self, wanted: Sequence[Stage]) -> int:
        """The bytes of the pixels and of the masks."""
        return self.count * self.defects.side**2 * 4

    def run(self, context: Context, wanted: Sequence[Stage]) -> None:
        """Make the images and commit them."""
        import numpy as np

        began = time.perf_counter()
        goods, products, defects = map(context.read, self.reads)
        made, sites = self.make(goods, products, defects, context)
        arrays: dict[str, np.ndarray] = {
            "images": made.images,
            "masks": made.masks.astype(np.uint8),
            "goods": np.array([site.good for site in sites], np.int64),
        }
        if not self.first:
            arrays["shown_goods"] = goods[arrays["goods"][:SHOWN]]
        seconds = time.perf_counter() - began
        info = {"types": made.types, "captions": made.captions, "seconds": seconds, **self.facts(context.store)}
        context.store.put(self.key, {IMAGES: arrays_bytes(arrays)}, info)
        context.measured(self._work_kind(context.device), seconds, self.count)

    def facts(self, store: Store) -> Mapping[str, Any]:
        """The facts about the method that the artifact's ``info`` states."""
        return {}

    @property
    def indices(self) -> range:
        """The indices of the stage's images in the set."""
        return range(self.first, self.first + self.count)

    @abstractmethod
    def make(
        self, goods: np.ndarray, products: np.ndarray, defects: DefectImages, context: Context
    ) -> tuple[DefectImages, Sequence[Site]]:
        """Make the images, and return the sites at which they were made.

        goods: uint8 (K, S, S, 3). products: bool (K, S, S). defects: the real defects that may be used.
        """

    def _work_kind(self, device: str) -> str:
        return f"defect|{self.maker}|{self.defects.side}|{device}"


def set_key(maker: Mapping[str, Any], support: Support, defects: SeenDefects, seed: int, indices: range) -> str:
    """Return the key of a part, made of the method, the good images, the real defects and the images' indices."""
    options = {"maker": dict(maker), "seed": seed, "first": indices.start, "count": len(indices)}
    inputs = {"goods": list(support.content), "defects": defects.identity()}
    return f"defect_set/{fingerprint(DefectSetStage.kind, DefectSetStage.version, options, inputs)}"


@dataclass(frozen=True)
class MadeDefects:
    """A defect set as cells read it.

    goods: the index of the good image that each was made on, (N,); None for real images.
    """

    images: DefectImages
    goods: np.ndarray | None
    seconds: float

    @property
    def columns(self) -> dict[str, Any]:
        """The columns of a row about these images: their number, and the seconds that they took."""
        return (
            {"images_made": 0}
            if self.goods is None
            else {"images_made": len(self.images), "seconds_made": self.seconds}
        )


def read_defect_set(store: Store, parts: Sequence[str]) -> MadeDefects:
    """The set whose parts have these keys, in order."""
    import numpy as np

    from goodshot.components.defects import DefectImages

    artifacts = [store.get(key) for key in parts]
    arrays = [artifact.arrays(IMAGES) for artifact in artifacts]
    joined = {name: np.concatenate([part[name] for part in arrays]) for name in ("images", "masks", "goods")}
    types, captions = (tuple(t for a in artifacts for t in a.info[name]) for name in ("types", "captions"))
    images = DefectImages(joined["images"], joined["masks"].astype(np.bool_), types, captions)
    return MadeDefects(images, joined["goods"], sum(artifact.info["seconds"] for artifact in artifacts))


@dataclass(frozen=True)
class Defective:
    """The defective images that a network is trained on.

    parts: the keys of a made set's parts. real: the real images; they are trained on if there are no parts.
    needed: the ids of the stages that make the parts.
    """

    parts: tuple[str, ...]
    real: SeenDefects
    needed: tuple[str, ...]

    def identity(self) -> dict[str, Any]:
        """The values that identify the images in a fingerprint."""
        return {"parts": list(self.parts)} if self.parts else {"real": self.real.identity()}

    @property
    def reads(self) -> tuple[SeenDefects, ...]:
        """The real images as a shared value, if they are trained on."""
        return () if self.parts else (self.real,)

    def read(self, context: Context) -> MadeDefects:
        """Read the images; real images have no good image on which they were made."""
        if self.parts:
            return read_defect_set(context.store, self.parts)
        return MadeDefects(context.read(self.real), None, 0.0)


@dataclass(frozen=True)
class ShownDefects:
    """The first images of a set, uint8 (n, S, S, 3), the good images that they were made on, and their masks.

    parameters: the number of weights of each part of the model that made them, if one did.
    """

    images: np.ndarray
    goods: np.ndarray
    masks: np.ndarray
    types: tuple[str, ...]
    captions: tuple[str, ...]
    parameters: Mapping[str, int]


def read_shown(store: Store, first_part: str) -> ShownDefects:
    """Return the images that the report shows of the set whose first part has this key."""
    import numpy as np

    artifact = store.get(first_part)
    arrays = artifact.arrays(IMAGES)
    goods = arrays["shown_goods"]
    count = len(goods)
    types, captions = (tuple(artifact.info[name][:count]) for name in ("types", "captions"))
    masks = arrays["masks"][:count].astype(np.bool_)
    return ShownDefects(arrays["images"][:count], goods, masks, types, captions, artifact.info.get("parameters", {}))
