"""``goodshot generate``: generate good images from a user's own photographs, in this process and without Ray.

It runs a study's prompt, training and image set stages with a store below ``--out``. So an interrupted call continues,
and a call with more iterations extends the same training.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from goodshot.components.config import Config
from goodshot.components.contact_sheet import contact_sheet
from goodshot.components.data.datasets.folder import FOLDER
from goodshot.components.data.images import encode_png
from goodshot.components.data.layout import EXTENSIONS, folder_in, inmost, is_folder, listed, namesakes
from goodshot.components.data.layout import images as images_in
from goodshot.components.data.sample import Sample
from goodshot.components.data.supplied import Supplied, read_files, read_supplied
from goodshot.components.detectors.config import DetectorConfig
from goodshot.components.errors import BadInput
from goodshot.components.generator.augment import POLICIES, augmented_set
from goodshot.runner.cells import CellStage
from goodshot.runner.data.catalogue import Category, read_catalogue
from goodshot.runner.declaration.search import SearchConfig
from goodshot.runner.executor.local import LocalExecutor
from goodshot.runner.photographs.replacing import check_replaceable, replace_folder
from goodshot.runner.plan.plan import Plan
from goodshot.runner.plan.planning import Declared, make_plan
from goodshot.runner.stages.base import Context, load_value
from goodshot.runner.stages.image_set import ImageSetStage
from goodshot.runner.stages.training import TrainingStage
from goodshot.runner.store.artifacts import Store
from goodshot.runner.store.files import Files, absolute
from goodshot.runner.study.study import Policy, Study

if TYPE_CHECKING:
    from goodshot.runner.cluster.together import Workers

IMAGES = "images"
DECIDED = ("arms", "categories", "category_augmentation", "dataset", "detectors", "objects", "shots", "support")
"""The fields of a study that the command sets itself."""
SHEET = "contact_sheet.png"
PREVIEW = "preview.png"
RECORD = "generated.json"
SHOWN_VIEWS = 6
PREVIEW_SIDE = 256


@dataclass(frozen=True)
class Generated:
    """The result of a call.

    folder, images, sheet: the image folder, its files, and the contact sheet.
    prompt, iteration, similarity: the prompt, the chosen iteration, and the similarity of its images to the prompt.
    quality: metric → value, of the images compared with the photographs.
    seconds: the duration of the call.
    """

    folder: Path
    sheet: Path
    images: tuple[Path, ...]
    prompt: str
    iteration: int
    similarity: float
    quality: dict[str, float]
    seconds: float


def check_settings(settings: Iterable[str]) -> None:
    """Raise :class:`BadInput` for a ``--set`` of a field that the command sets itself; it would have no effect."""
    for setting in settings:
        name = setting.partition("=")[0].partition(".")[0]
        if name in DECIDED:
            raise BadInput(f"--set {name}: generate learns from every photograph in its folder; it takes no {name}")


class Photographs(Config):
    """The photographs of one object: those in a folder, or a single file."""

    folder: Path
    object_name: str

    @property
    def image_folder(self) -> Path:
        """The folder itself, or its subfolder ``good`` if it has no image. Raises :class:`BadInput` if missing.

        Each is looked through if it holds nothing but a folder of its own name.
        """
        if self.folder.is_file():
            return self.folder.parent
        if not is_folder(self.folder):
            raise BadInput(f"{self.folder}: no such folder; give one with photographs of good products")
        folder = inmost(self.folder)
        return folder if images_in(folder) or not namesakes(folder, "good") else folder_in(folder, "good")

    def read(self) -> tuple[Supplied, ...]:
        """Return all photographs by name. Raises :class:`BadInput` if one is damaged, or if there is none."""
        if self.folder.is_file():
            return read_files([self.folder])
        if not (files := images_in(self.image_folder)):
            kinds = ", ".join(sorted(EXTENSIONS))
            raise BadInput(f"{self.image_folder}: holds no images ({kinds}); put a photograph of a good product there")
        return read_supplied(self.image_folder, len(files))

    def notes(self) -> Iterator[str]:
        """Yield a line that names files that are not images, and one that says which value is white in deep images."""
        folder = self.image_folder
        others = [p for p in listed(folder) if not is_folder(p) and p not in set(images_in(folder))]
        if others and not self.folder.is_file():
            yield f"ignored in {folder}: {others[0].name}" + f" and {len(others) - 1} more" * (len(others) > 1)
        if (white := next((photo.white for photo in self.read() if photo.white), None)) is not None:
            yield f"photographs of more than 8 bits in {folder}: {white} is read as white"

    def check_apart(self, out: Path) -> None:
        """Raise :class:`BadInput` if ``out`` is the photographs' folder, or writing to it would replace them."""
        source, target = self.image_folder.resolve(), out.resolve()
        if target in (source, self.folder.resolve()) or source.is_relative_to(target / IMAGES):
            raise BadInput(f"--out {out}: the photographs are there; choose another folder")

    def category(self, read: Sequence[Supplied]) -> Category:
        """Return the photographs as a category of training images without test images, named after the object."""
        name = self.object_name.replace(" ", "_")
        samples = []
        for photo in read:
            height, width = photo.decode().shape[:2]
            sample = Sample(
                photo.path.name, FOLDER.name, name, "train", "good", 0, photo.path, width, height, photo.sha256
            )
            samples.append(replace(sample, white=photo.white))
        return Category(FOLDER.name, name, tuple(samples))


def preview(photographs: Photographs, out: Path, policy: Policy, seed: int) -> Path:
    """Write ``OUT/preview.png``: each photograph with its views by ``policy``, then by every other policy.

    Nothing is trained, so the training views of a generator can be inspected in a second.
    """
    photographs.check_apart(out)
    originals = [p.decode(PREVIEW_SIDE) for p in photographs.read()]
    names = [policy, *(name for name in POLICIES if name != policy)]
    rows = []
    for number, original in enumerate(originals, start=1):
        for name in names:
            label = f"{number}, {name}" + " (used)" * (name == policy)
            rows.append((label, [original, *augmented_set([original], POLICIES[name], SHOWN_VIEWS, seed)]))
    Files(absolute(str(out))).check_writable()
    return _write(out, PREVIEW, contact_sheet(rows))


def generate(
    photographs: Photographs,
    study: Study,
    out: Path,
    device: str = "cpu",
    on_step: Callable[[int, int], None] = lambda done, total: None,
    workers: int = 1,
) -> Generated:
    """Train on the photographs and write ``OUT/images/*.png``, a contact sheet and a record of all settings.

    Args:
        study: a study with one point and one support seed; its fields in ``DECIDED`` are ignored.
        on_step: called with the number of training steps so far and their total.
        workers: processes that divide each step's photographs, on the Ray cluster that the caller has started.

    Raises:
        BadInput: no usable photograph, a study with several points, missing weights, or an unknown object.
    """
    started = time.perf_counter()
    photographs.check_apart(out)
    check_replaceable(out / IMAGES)
    photos = photographs.read()
    category = photographs.category(photos)
    plan, cell = _plan_cell(study, category, photographs.object_name, out / "photographs", workers)
    Files(absolute(str(out))).check_writable()
    store = Store(absolute(str(out / "store")))
    _execute_stages(plan, cell, store, device, on_step, workers)
    context = Context(store, partial(load_value, store=store))
    images, columns = cell.added_images(context)
    originals = [photo.decode(images.shape[1]) for photo in photos]
    quality = {v.metric: v.value for v in _quality(images, originals, context)}
    paths = _write_images(images, out)
    policy = study.augmentation_of(category.name)
    sheet = _write(out, SHEET, contact_sheet(_sheet_rows(originals, images, policy, study)))
    record = {
        "object": photographs.object_name,
        "photographs": {photo.path.name: photo.content for photo in photos},
        "prompt": columns["prompt"],
        "chosen_iteration": columns["chosen_iteration"],
        "similarity": columns["similarity"],
        "quality": {name: _finite_or_none(value) for name, value in quality.items()},
        "generator": plan.of(TrainingStage)[0].key,
        "study": study.model_dump(mode="json"),
    }
    _write(out, RECORD, json.dumps(record, indent=1, ensure_ascii=False).encode())
    seconds = time.perf_counter() - started
    return Generated(
        folder=out / IMAGES,
        sheet=sheet,
        images=paths,
        prompt=columns["prompt"],
        iteration=int(columns["chosen_iteration"]),
        similarity=float(columns["similarity"]),
        quality=quality,
        seconds=seconds,
    )


def _plan_cell(
    study: Study, category: Category, object_name: str, demo_root: Path, workers: int
) -> tuple[Plan, CellStage]:
    """Plan the one cell whose image set is generated. Raises :class:`BadInput` if the study has several cells."""
    values = {
        "arms": ("generated",),
        "categories": (category.name,),
        "category_augmentation": {},
        "objects": {category.name: object_name},
        "shots": "full",
        "support": {},
        "objective": "similarity",
        "detectors": (DetectorConfig(),),
        "search": SearchConfig(),
        "resources": study.resources.model_copy(update={"generator_workers": workers}),
    }
    changed = study.model_copy(update=values)
    datasets = changed.variation_sources if changed.sources else ()
    sources = [c for d in datasets for c in read_catalogue(d, (), demo_root, tested=False).values()]
    plan = make_plan([Declared(changed, {category.name: category}, sources)])
    if len(plan.cells) != 1:
        raise BadInput(
            f"generate makes one set of images, and this study asks for {len(plan.cells)}; give each of vq_weight, "
            "copies, iterations, prompt_kind, select, variance, detail and post_augment one value, and one seed"
        )
    (cell,) = plan.cells.values()
    return plan, cell


def _execute_stages(
    plan: Plan, cell: CellStage, store: Store, device: str, on_step: Callable[[int, int], None], workers: int
) -> None:
    """Compute and commit the cell's artifacts that the store lacks."""
    (training,) = plan.of(TrainingStage)
    total = training.steps(plan.of(ImageSetStage))
    with ExitStack() as stack:
        train_together = stack.enter_context(_together(training, device, workers)).train if workers > 1 else None
        executor = LocalExecutor(plan, store, None, device, train_together, lambda steps: on_step(steps, total))
        executor.want([cell])
        for id_ in cell.inputs:
            executor.make(id_)


def _together(training: TrainingStage, device: str, workers: int) -> Workers:
    """Return the processes that train together. Raises :class:`BadInput` if they cannot share this training."""
    from goodshot.runner.cluster.connection import usable_cpus
    from goodshot.runner.cluster.together import Workers

    if training.config.discriminator.start is not None:
        raise BadInput(
            "--workers: with a discriminator, several workers would train a different generator than one worker; "
            "leave out --workers or the discriminator"
        )
    return Workers(workers, max(1, usable_cpus() // workers), float(device == "cuda"))


def _quality(images: np.ndarray, originals: Sequence[np.ndarray], context: Context) -> Sequence[Any]:
    from goodshot.runner.stages.quality import quality_values

    return quality_values(images, originals, context)


def _sheet_rows(
    originals: Sequence[np.ndarray], images: np.ndarray, policy: Policy, study: Study
) -> list[tuple[str, list[np.ndarray]]]:
    """Return the rows of the contact sheet: photographs, training views, and at most four rows of the images."""
    views = augmented_set(list(originals), POLICIES[policy], SHOWN_VIEWS, study.support_seeds[0])
    columns = max(SHOWN_VIEWS, 10)
    image_rows = [list(images[i : i + columns]) for i in range(0, min(len(images), 4 * columns), columns)]
    rows = [("photographs", list(originals[:columns])), (f"{policy} views, learned from", list(views))]
    title = study.judged_arm.images_are
    return rows + [(title if not i else "", row) for i, row in enumerate(image_rows)]


def _write_images(images: np.ndarray, out: Path) -> tuple[Path, ...]:
    """Replace ``OUT/images`` as a whole, so that it never contains images of two calls."""
    names = [f"{m:03d}.png" for m in range(len(images))]

    def write(folder: Path) -> None:
        folder.mkdir()
        for name, image in zip(names, images, strict=True):
            (folder / name).write_bytes(encode_png(image))

    replace_folder(out / IMAGES, write)
    return tuple(out / IMAGES / name for name in names)


def _write(out: Path, name: str, data: bytes) -> Path:
    """Write a file below ``out`` atomically, and return its path."""
    Files(absolute(str(out))).write(name, data)
    return out / name


def _finite_or_none(value: float) -> float | None:
    """Replace NaN and infinity, which JSON does not have, by None."""
    return value if np.isfinite(value) else None
