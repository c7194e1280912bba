"""``goodshot synthesize``: make defective images of a user's own product, in this process and without Ray.

It runs a study's stages of defective images with a store below ``--out``. So an interrupted call continues, and a call
with more copies uses the same training. Nothing is tested on the photographs: all of them are learned from.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

from goodshot.components.config import Config
from goodshot.components.data.datasets.folder import FOLDER
from goodshot.components.data.sample import Sample
from goodshot.components.defects.layouts import Layout, layout_of, write_layout
from goodshot.components.defects.sheet import defect_sheet
from goodshot.components.defects.supplied import FEWEST, SuppliedDefects, read_supplied_defects
from goodshot.components.errors import BadInput
from goodshot.runner.arms import arm_of, arms
from goodshot.runner.arms.defective import DefectArm
from goodshot.runner.cells.defective import DefectCellStage
from goodshot.runner.data.catalogue import Category
from goodshot.runner.executor.local import LocalExecutor
from goodshot.runner.photographs.replacing import check_replaceable, replace_folder
from goodshot.runner.plan.plan import Plan
from goodshot.runner.plan.planning import Declared, make_plan
from goodshot.runner.stages.base import Context, load_value
from goodshot.runner.stages.defects import GoodImages
from goodshot.runner.stages.fusion import DiffusionBaseStage
from goodshot.runner.store.artifacts import Store
from goodshot.runner.store.files import Files, absolute
from goodshot.runner.study.study import Study

DATASET, STORE = "dataset", "store"
SHEET, RECORD = "contact_sheet.png", "synthesized.json"


@dataclass(frozen=True)
class Synthesized:
    """The result of a call.

    folder: the images in their layout. sheet: the contact sheet. made: defect type → number of images.
    goods, defects: numbers of photographs that were used.
    trained: what was trained → its number of steps; empty for a method that learns nothing.
    small_base: the side in pixels of the base that was trained from scratch; None without one.
    seconds: the duration of the call.
    """

    folder: Path
    sheet: Path
    made: Mapping[str, int]
    goods: int
    defects: int
    trained: Mapping[str, int]
    small_base: int | None
    seconds: float


def methods() -> dict[str, DefectArm]:
    """The arms that make defective images, by name."""
    return {arm.name: arm for arm in arms() if isinstance(arm, DefectArm) and arm.point_fields}


def method_of(name: str) -> DefectArm:
    """The arm of a ``--method``. Raises :class:`BadInput` if it makes no defective images."""
    try:
        arm = arm_of(name)
    except ValueError:
        arm = None
    if isinstance(arm, DefectArm) and arm.point_fields:
        return arm
    raise BadInput(f"--method {name}: choose one of {', '.join(methods())}")


def check_settings(settings: Iterable[str], method: DefectArm) -> None:
    """Raise :class:`BadInput` for a ``--set`` of a field that has no effect on the images of this method."""
    for setting in settings:
        name = setting.partition("=")[0]
        if not any(name == field or name.startswith(f"{field}.") for field in method.fields):
            raise BadInput(
                f"--set {name}: synthesize does not use {name}; with --method {method.name} it takes "
                f"{', '.join(method.fields)}"
            )


class Product(Config):
    """A user's folders with photographs of one product."""

    object_name: str
    good: Path
    defects: Path | None = None
    masks: Path | None = None

    @property
    def category(self) -> str:
        """The product's name as a category."""
        return self.object_name.strip().replace(" ", "_").replace("/", "_")

    def used_by(self, method: DefectArm) -> Product:
        """The product without what the method does not use.

        Raises:
            BadInput: the method learns from defective photographs, and there are none; or an option is missing.
        """
        if not self.object_name.strip():
            raise BadInput("--object: is empty; give the word for the product, such as cup")
        if not method.has_types:
            return Product(object_name=self.object_name, good=self.good)
        if self.defects is None:
            raise BadInput(
                f"--method {method.name}: learns from defective photographs; give at least {FEWEST} of them by "
                "--defects and their masks by --masks, or choose --method cutpaste, which needs none"
            )
        return self

    def read(self) -> SuppliedDefects:
        """Read and check the photographs. Raises :class:`BadInput` for the first that cannot be used."""
        return read_supplied_defects(self.good, self.defects, self.masks, self.category)

    def check_apart(self, out: Path) -> None:
        """Raise :class:`BadInput` if ``out`` lies in a folder of photographs, or writing to it would replace them."""
        target = out.resolve()
        for folder in filter(None, (self.good, self.defects, self.masks)):
            source = folder.resolve()
            if target.is_relative_to(source):
                raise BadInput(f"--out {out}: lies in {folder}, where photographs are read; choose another folder")
            if any(source.is_relative_to(target / name) for name in (DATASET, STORE)):
                raise BadInput(f"--out {out}: {folder} is where images are written; choose another folder")


def synthesize(
    product: Product,
    method: DefectArm,
    study: Study,
    out: Path,
    layout: str = "folder",
    device: str = "cpu",
    on_step: Callable[[int, int], None] = lambda done, total: None,
    on_note: Callable[[str], object] = lambda note: None,
) -> Synthesized:
    """Learn the product's defects and write ``OUT/dataset``, a contact sheet and a record of all settings.

    Args:
        study: a study with one number of copies and one support seed.
        on_step: called with the number of training steps so far and their total.
        on_note: called with each line about the photographs that their owner should know.

    Raises:
        BadInput: photographs or masks that cannot be used, ``out`` among them, a study with several points, or missing
            weights.
    """
    started = time.perf_counter()
    product.check_apart(out)
    form = layout_of(layout)
    photographs = product.used_by(method).read()
    check_replaceable(out / DATASET)
    for note in _notes(product, method, photographs):
        on_note(note)
    category = Category(FOLDER.name, product.category, (*photographs.goods, *photographs.defects))
    study = _decided(study, method, category, product.object_name.strip())
    for finding in method.findings(study, category):
        on_note(str(finding))
    plan, cell = _plan_cell(study, category)
    Files(absolute(str(out))).check_writable()
    store = Store(absolute(str(out / STORE)))
    _execute_stages(plan, cell, store, device, on_step)
    made = _write_images(cell, store, form, product.object_name, out)
    base = next(iter(plan.of(DiffusionBaseStage)), None)
    record = _record(study, form, plan, cell, photographs, made)
    _write(out, RECORD, json.dumps(record, indent=1, ensure_ascii=False).encode())
    return Synthesized(
        folder=out / DATASET,
        sheet=out / SHEET,
        made=made,
        goods=len(photographs.goods),
        defects=len(photographs.defects),
        trained={stage.title: steps for stage in plan.stages.values() if (steps := stage.steps([stage]))},
        small_base=None if base is None else base.config.resolution,
        seconds=time.perf_counter() - started,
    )


def _notes(product: Product, method: DefectArm, photographs: SuppliedDefects) -> Iterator[str]:
    for folder in filter(None, (product.defects, product.masks)):
        if not method.has_types:
            yield f"--method {method.name} uses no defective photograph: {folder} is not read"
    yield from map(str, photographs.findings)


def _decided(study: Study, method: DefectArm, category: Category, object_name: str) -> Study:
    """The study with the fields that the command sets itself."""
    values = {"arms": (method.name,), "categories": (category.name,), "objects": {category.name: object_name}}
    return study.model_copy(update=values)


def _plan_cell(study: Study, category: Category) -> tuple[Plan, DefectCellStage]:
    """Plan the one cell whose defect set is made. Raises :class:`BadInput` if the study has several cells."""
    plan = make_plan([Declared(study, {category.name: category})])
    if len(plan.cells) != 1:
        raise BadInput(f"synthesize makes one set of images, and this study asks for {len(plan.cells)}; give one seed")
    (cell,) = plan.cells.values()
    return plan, cast("DefectCellStage", cell)


def _execute_stages(
    plan: Plan, cell: DefectCellStage, store: Store, device: str, on_step: Callable[[int, int], None]
) -> None:
    """Compute and commit the artifacts of the cell's images that the store lacks; nothing is trained on them."""

    def stepped(updates: int) -> None:
        on_step(executor.progress.steps_done, executor.progress.steps_total)

    executor = LocalExecutor(plan, store, None, device, on_step=stepped)
    executor.want([cell])
    for id_ in cell.images:
        executor.make(id_)


def _write_images(cell: DefectCellStage, store: Store, layout: Layout, object_name: str, out: Path) -> dict[str, int]:
    """Write the images in their layout and the contact sheet; returns the number of images of each type."""
    context = Context(store, partial(load_value, store=store))
    made = cell.defective.read(context)
    goods = context.read(GoodImages(cell.support, made.images.side))
    real = context.read(cell.split.fit)
    owners = [] if made.goods is None else made.goods.tolist()
    replace_folder(out / DATASET, lambda folder: write_layout(layout, made.images, goods, object_name, folder))
    _write(out, SHEET, defect_sheet(goods, owners, made.images, real))
    return dict(sorted(Counter(made.images.types).items()))


def _record(
    study: Study,
    layout: Layout,
    plan: Plan,
    cell: DefectCellStage,
    photographs: SuppliedDefects,
    made: Mapping[str, int],
) -> dict[str, object]:
    """Return the record of the images made, the photographs used, and all settings."""
    fit = cell.split.fit
    return {
        "object": study.objects[cell.cell.category],
        "method": cell.cell.arm.name,
        "layout": layout.name,
        "images": made,
        "good": _contents(photographs.goods),
        "defects": _contents(photographs.defects),
        "captions": dict(zip(fit.ids, fit.captions, strict=True)),
        "stages": {stage.id: stage.title for stage in plan.closure(cell.inputs).values()},
        "study": study.model_dump(mode="json"),
    }


def _contents(samples: Iterable[Sample]) -> dict[str, str]:
    return {sample.image_id: sample.content for sample in samples}


def _write(out: Path, name: str, data: bytes) -> None:
    """Write a file below ``out`` atomically."""
    Files(absolute(str(out))).write(name, data)
