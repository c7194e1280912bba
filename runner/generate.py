"""``goodshot generate``: a user's own photographs in, good images out, in this process and without Ray.

It runs a study's prompt and generator stages on a store below ``--out``, so an interrupted call continues, and a call
that asks for more copies or iterations extends the same training.

# K photographs, M generated images
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from components.config import Config
from components.data.images import decode_rgb, encode_png
from components.data.layout import images as images_in
from components.data.layout import is_folder
from components.data.sample import Sample
from components.data.supplied import Supplied, read_supplied
from components.errors import BadInput
from components.generator.augment import POLICIES, augmented_set
from runner.catalogue import Category, read_catalogue
from runner.contact_sheet import contact_sheet
from runner.files import Files, absolute
from runner.plan import GeneratorStage, Plan, PlannedCell, make_plan
from runner.store import Store
from runner.study import Policy, Study

IMAGES = "images"
SHEET = "contact_sheet.png"
PREVIEW = "preview.png"
RECORD = "generated.json"
SHOWN_VIEWS = 6
PREVIEW_SIDE = 256


@dataclass(frozen=True)
class Generated:
    """What a call made: where it is, the prompt it was chosen by, and what it measures without a detector."""

    folder: Path
    sheet: Path
    images: tuple[Path, ...]
    prompt: str
    iteration: int
    similarity: float
    quality: dict[str, float]
    seconds: float


class Photographs(Config):
    """The photographs of one object."""

    folder: Path
    object_name: str

    def read(self) -> tuple[Supplied, ...]:
        """All of them by name, each whole. Raises :class:`BadInput` for a missing folder, none, or a broken one."""
        place = self.folder
        if not is_folder(place):
            raise BadInput(f"{place}: no such folder; give one with photographs of good products")
        if not images_in(place) and is_folder(place / "good"):
            place = place / "good"
        if not (found := images_in(place)):
            raise BadInput(f"{place}: holds no images; put at least one photograph of a good product there")
        return read_supplied(place, len(found))

    def category(self, read: Sequence[Supplied]) -> Category:
        """They as a category of training images without a test, named after the object."""
        name = self.object_name.replace(" ", "_")
        samples = []
        for photo in read:
            height, width = decode_rgb(photo.path.read_bytes()).shape[:2]
            samples.append(
                Sample(photo.path.name, "folder", name, "train", "good", 0, photo.path, width, height, photo.sha256)
            )
        return Category("folder", name, tuple(samples))


def preview(photographs: Photographs, out: Path, policy: Policy, seed: int) -> Path:
    """Write ``OUT/preview.png``: each photograph, and views of it by the policy and by every other one, unshuffled.

    It trains nothing: what a generator will learn from can be looked at in a second.
    """
    originals = [decode_rgb(p.path.read_bytes(), PREVIEW_SIDE) for p in photographs.read()]
    names = [policy, *(name for name in POLICIES if name != policy)]
    rows = []
    for number, original in enumerate(originals, start=1):
        for name in names:
            label = f"{number}, {name}" + " (used)" * (name == policy)
            rows.append((label, [original, *augmented_set([original], POLICIES[name], SHOWN_VIEWS, seed)]))
    out.mkdir(parents=True, exist_ok=True)
    return _written(out, PREVIEW, contact_sheet(rows))


def generate(
    photographs: Photographs,
    study: Study,
    out: Path,
    device: str = "cpu",
    on_step: Callable[[int, int], None] = lambda done, total: None,
    workers: int = 1,
) -> Generated:
    """Train on the photographs and write ``OUT/images/*.png``, a contact sheet and a record of how they were made.

    Args:
        study: one point, one support seed; its dataset, categories and detectors are not looked at.
        on_step: called with the updates made so far and those that there will be.
        workers: processes that share each step's photographs, on the Ray cluster that the caller has started.

    Raises:
        BadInput: nothing usable in the folder, a study of several points, missing weights, an unknown object.
    """
    began = time.perf_counter()
    read = photographs.read()
    category = photographs.category(read)
    plan, planned = _planned(study, category, photographs.object_name, out / "photographs")
    Files(absolute(str(out))).check_writable()
    store = Store(absolute(str(out / "store")))
    stage = plan.generators[str(planned.generator)]
    info = _make(plan, planned, stage, category, store, device, on_step, workers)
    images = _finished_images(planned, store)
    originals = [decode_rgb(p.path.read_bytes(), images.shape[1]) for p in read]
    quality = {v.metric: v.value for v in _quality(images, originals, store)}
    prompt = store.get(str(planned.prompt)).info["prompts"][stage.image_sets[0].prompt_kind]
    paths = _write_images(images, out)
    policy = study.augmentation_of(category.name)
    sheet = _written(out, SHEET, contact_sheet(_sheet(originals, images, policy, study)))
    record = {
        "object": photographs.object_name,
        "photographs": {p.path.name: p.sha256 for p in read},
        "prompt": prompt,
        "chosen_iteration": info["iteration"],
        "similarity": info["similarity"],
        "quality": {name: _plain(value) for name, value in quality.items()},
        "generator": stage.key,
        "study": study.model_dump(mode="json"),
    }
    _written(out, RECORD, json.dumps(record, indent=1, ensure_ascii=False).encode())
    seconds = time.perf_counter() - began
    return Generated(
        out / IMAGES, sheet, paths, prompt, int(info["iteration"]), float(info["similarity"]), quality, seconds
    )


def _planned(study: Study, category: Category, object_name: str, demo_root: Path) -> tuple[Plan, PlannedCell]:
    values = {
        "arms": ("generated",),
        "categories": (category.name,),
        "category_augmentation": {},
        "objects": {category.name: object_name},
        "shots": "full",
        "support": {},
        "objective": "similarity",
    }
    own = study.model_copy(update=values)
    sources = [c for d in own.variation_sources for c in read_catalogue(d, (), demo_root, tested=False).values()]
    plan = make_plan([(own, {category.name: category})], {own.name: sources})
    if len(plan.cells) != 1:
        raise BadInput(
            f"generate makes one set of images, and this study asks for {len(plan.cells)}; give each of vq_weight, "
            "copies, iterations, prompt_kind, select, variance, detail and post_augment one value, and one seed"
        )
    (planned,) = plan.cells.values()
    return plan, planned


def _make(
    plan: Plan,
    planned: PlannedCell,
    stage: GeneratorStage,
    category: Category,
    store: Store,
    device: str,
    on_step: Callable[[int, int], None],
    workers: int,
) -> dict[str, Any]:
    """Commit the stages' artifacts, those that are not there. Returns what is known of the image set."""
    from components.generator.generator import Generator
    from components.generator.start import check_start
    from components.generator.training import StepLosses
    from runner.distributed import SharedTraining, shared_steps
    from runner.image_sets import ImageSets
    from runner.stages import cached_encoder, make_shards, rank_prompts, read_support
    from runner.variation import make_variation, read_variation

    for shard in (s.shard for v in plan.variations.values() for s in v.sources):
        if not store.has(shard):
            make_shards(plan.category(shard).samples, shard, store, plan.category(shard).source)
    for variation in plan.variations.values():
        if not store.has(variation.key):
            make_variation(variation, store)
    if not store.has(category.shard):
        make_shards(category.samples, category.shard, store)
    originals = read_support(planned.support, store)
    prompt = plan.prompts[str(planned.prompt)]
    if not store.has(prompt.key):
        rank_prompts(prompt, originals, store)
    total, done = stage.iterations - 1, 0
    head = read_variation(stage.variation.key, store) if stage.variation else None

    def start() -> Generator:
        check_start(stage.config.init, stage.start_sha256)
        return Generator(originals, stage.config, stage.vq_weight, stage.seed, stage.augmentation, device, head)

    def stepped(steps: int, seconds: float) -> None:
        nonlocal done
        done += steps
        on_step(done, total)

    def shared(generator: Generator, to: int) -> list[StepLosses]:
        training = SharedTraining(
            originals, stage.config, stage.vq_weight, stage.seed, to, "", stage.augmentation, variance_head=head
        )
        return shared_steps(training, generator, workers, device == "cuda")

    encoder, train = cached_encoder(stage.encoder, device), shared if workers > 1 else None
    making = ImageSets(stage, store, encoder, start, stepped, train=train)
    making.make()
    return dict(store.get(stage.image_sets[0].key).info)


def _finished_images(planned: PlannedCell, store: Store) -> np.ndarray:
    """The chosen set under the study's ``post_augment``, uint8 (M, H, W, 3): what a detector would train on."""
    from runner.stages import extra_images

    images, _ = extra_images(planned, store)
    assert images is not None  # noqa: S101 - a generated arm adds images
    return images


def _quality(images: np.ndarray, originals: Sequence[np.ndarray], store: Store) -> Sequence[Any]:
    from runner.quality import quality_values

    return quality_values(images, originals, store)


def _sheet(
    originals: Sequence[np.ndarray], images: np.ndarray, policy: Policy, study: Study
) -> list[tuple[str, list[np.ndarray]]]:
    views = augmented_set(list(originals), POLICIES[policy], SHOWN_VIEWS, study.support_seeds[0])
    shown = max(SHOWN_VIEWS, 10)
    made = [list(images[i : i + shown]) for i in range(0, min(len(images), 4 * shown), shown)]
    rows = [("photographs", list(originals[:shown])), (f"{policy} views, learned from", list(views))]
    return rows + [("generated" if not i else "", row) for i, row in enumerate(made)]


def _write_images(images: np.ndarray, out: Path) -> tuple[Path, ...]:
    """Replace ``OUT/images`` as a whole, so that it never holds images of two calls."""
    with tempfile.TemporaryDirectory(dir=out, prefix=".images-") as folder:
        fresh = Path(folder) / "new"
        fresh.mkdir()
        names = [f"{m:03d}.png" for m in range(len(images))]
        for name, image in zip(names, images, strict=True):
            (fresh / name).write_bytes(encode_png(image))
        target = out / IMAGES
        if target.exists():
            _refuse_foreign(target)
            target.rename(Path(folder) / "old")
        fresh.rename(target)
    return tuple(target / name for name in names)


def _refuse_foreign(folder: Path) -> None:
    """What somebody else put there is not thrown away."""
    foreign = [p.name for p in folder.iterdir() if not (p.suffix == ".png" and p.stem.isdigit())]
    if foreign:
        raise BadInput(
            f"{folder}: holds {foreign[0]}, which this command did not write; move it, or choose another --out"
        )


def _written(out: Path, name: str, data: bytes) -> Path:
    Files(absolute(str(out))).write(name, data)
    return out / name


def _plain(value: float) -> float | None:
    """JSON knows neither NaN nor infinity."""
    return value if np.isfinite(value) else None
