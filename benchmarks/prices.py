"""What every experiment of the paper costs: cells, trainings, GPU hours and disk, by ``goodshot plan``'s own counting.

    python -m benchmarks prices        prints a Markdown table; about ten minutes on two CPU cores

Cells, stages and disk are those of the plan over stand-ins: folders in the datasets' layouts with as many images as the
datasets have, of 16 × 16 pixels each, and empty files in place of weights. GPU hours are an estimate, because they were
not measured: the floating-point operations of every kind of work, counted by torch on the real networks with random
weights, at an assumed rate, plus an assumed time for each update of a network. A machine that has run a support knows
better: ``goodshot plan`` there prices by what such stages took.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from goodshot.runner.plan.plan import Plan

FLOP_PER_SECOND = 30e12
"""Assumed: what one data-centre GPU of 2022 or later sustains on such convolutions, in torch's default TF32."""
SECONDS_PER_UPDATE = 0.02
"""Assumed: what an update of a network takes at least, however small the network is."""

MVTEC_AD = {
    "bottle": (209, 20, 63),
    "cable": (224, 58, 92),
    "capsule": (219, 23, 109),
    "carpet": (280, 28, 89),
    "grid": (264, 21, 57),
    "hazelnut": (391, 40, 70),
    "leather": (245, 32, 92),
    "metal_nut": (220, 22, 93),
    "pill": (267, 26, 141),
    "screw": (320, 41, 119),
    "tile": (230, 33, 84),
    "toothbrush": (60, 12, 30),
    "transistor": (213, 60, 40),
    "wood": (247, 19, 60),
    "zipper": (240, 32, 119),
}
"""Category → training images, good and defective test images (Bergmann et al., CVPR 2019, Table 2)."""
MVTEC_LOCO = {
    "breakfast_box": (351, 102, 83, 90),
    "juice_bottle": (335, 94, 142, 94),
    "pushpins": (372, 138, 91, 81),
    "screw_bag": (360, 122, 137, 82),
    "splicing_connectors": (354, 119, 108, 85),
}
"""Category → training images, good, logical and structural test images (Bergmann et al., IJCV 2022)."""
BTAD = {"01": (400, 21, 49), "02": (399, 30, 200), "03": (1000, 400, 41)}
"""Category → training images, good and defective test images (Mishra et al., ISIE 2021)."""


HEAD = "| experiment | cells | trainings | updates | GPU hours | disk |\n|---|---|---|---|---|---|"


def main() -> str:
    """Plan and price every experiment of the paper; returns the table."""
    from goodshot.components.download import readable
    from goodshot.runner.plan.plan import planned_steps

    lines = [HEAD]
    for name, plan, disk in planned():
        steps = planned_steps(plan, plan.cells.values())
        hours = f"{gpu_hours(plan):,.1f}"
        lines.append(
            f"| `{name}` | {len(plan.cells):,} | {trainings(plan):,} | {steps:,} | {hours} | {readable(disk)} |"
        )
        print(lines[-1], flush=True)
    return "\n".join(lines)


def planned() -> Iterator[tuple[str, Plan, int]]:
    """The name of each experiment of the paper, the plan of its real flavour, and the bytes that it adds to a store."""
    with tempfile.TemporaryDirectory() as folder:
        _caches_below(Path(folder))  # before anything reads where caches are
        from goodshot.runner.named import experiment_names

        roots = drawn(Path(folder) / "data")
        for name, one in experiment_names().items():
            # A stand-in has one kind of defect, and no fusion was ever timed on a GPU.
            if (one.item and not name.startswith("fusion_")) or name == "sweep":
                yield (name, *_plan(name, roots, Path(folder)))


def trainings(plan: Plan) -> int:
    """The generators that a plan trains."""
    return sum(stage.trains for stage in plan.stages.values())


def drawn(folder: Path) -> dict[str, Path]:
    """Dataset → a root below ``folder`` with as many images in each category as the dataset has."""
    roots = {name: folder / name for name in ("mvtec_ad", "mvtec_loco", "btad")}
    number = iter(range(1, 1 << 24))
    for category, (train, good, bad) in MVTEC_AD.items():
        _draw(roots["mvtec_ad"] / category, {"train/good": train, "test/good": good, "test/defect": bad}, number)
        _masks(roots["mvtec_ad"] / category / "ground_truth/defect", bad, "{:04d}_mask.png")
    for category, (train, good, logical, structural) in MVTEC_LOCO.items():
        kinds = {"logical_anomalies": logical, "structural_anomalies": structural}
        own = roots["mvtec_loco"] / category
        _draw(own, {"train/good": train, "test/good": good, **{f"test/{k}": n for k, n in kinds.items()}}, number)
        for kind, count in kinds.items():
            _masks(own / "ground_truth" / kind, count, "{:04d}/000.png")
        saturation = {"pixel_value": 255, "saturation_threshold": 1.0, "relative_saturation": True}
        (own / "defects_config.json").write_text(json.dumps([{"defect_name": "defect", **saturation}]))
    for category, (train, good, bad) in BTAD.items():
        _draw(roots["btad"] / category, {"train/ok": train, "test/ok": good, "test/ko": bad}, number)
        _masks(roots["btad"] / category / "ground_truth/ko", bad, "{:04d}.png")
    return roots


def _draw(folder: Path, counts: Mapping[str, int], number: Iterator[int]) -> None:
    """Images of one category, no two of which are equal."""
    for place, count in counts.items():
        (folder / place).mkdir(parents=True)
        for i in range(count):
            pixels = np.zeros((16, 16, 3), np.uint8)
            pixels[0, 0] = np.frombuffer(next(number).to_bytes(3, "big"), np.uint8)
            Image.fromarray(pixels).save(folder / place / f"{i:04d}.png")


def _masks(folder: Path, count: int, name: str) -> None:
    for i in range(count):
        path = folder / name.format(i)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((16, 16), 255, np.uint8)).save(path)


def _plan(name: str, roots: Mapping[str, Path], folder: Path) -> tuple[Plan, int]:
    """An experiment's plan, and what ``goodshot plan`` says that it adds to the store, in bytes."""
    from goodshot.runner.named import load_studies
    from goodshot.runner.plan.pricing import price
    from goodshot.runner.plan.scheduling import Shares
    from goodshot.runner.run.execute import plan_studies
    from goodshot.runner.run.options import Options
    from goodshot.runner.store.artifacts import Store

    read = dict.fromkeys(study.dataset.name for study in load_studies(name)[1])
    _, studies = load_studies(name, roots=[f"{dataset}={roots[dataset]}" for dataset in read])
    _stand_in_for_weights(studies)
    options = Options(str(folder / "out"))
    plan = plan_studies(studies, options)
    prices = price(plan, Store(options.store_uri), set(), Shares([{"CPU": 16, "GPU": 1}]), {})
    return plan, sum(each.disk for each in prices)


def _caches_below(folder: Path) -> None:
    for variable in ("GOODSHOT_CACHE", "HF_HOME", "TORCH_HOME", "XDG_CACHE_HOME"):
        os.environ[variable] = str(folder / "caches" / variable.lower())


def _stand_in_for_weights(studies: Sequence[Any]) -> None:
    """A small file in the place of each weight that is not here: a plan needs its name and its bytes' hash."""
    from goodshot.components.weights import weight
    from goodshot.components.weights.files import AtURL, InArchive, OnHub
    from goodshot.runner.machine.needs import needs_of

    for name in {need.name for study in studies for need in needs_of(study) if not need.instead}:
        for file in weight(name).missing():
            if isinstance(file, OnHub):
                path = file._folder / "snapshots" / file._commit / file.names[0]
            elif isinstance(file, AtURL):
                path = file.folder() / file.name
            else:
                assert isinstance(file, InArchive)
                path = file.folder() / file.holds
                path = path if path.suffix else path / "photograph.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"stands in for a weight")


def gpu_hours(plan: Plan) -> float:
    """The estimated GPU hours of a plan, in which each stage has a GPU to itself."""
    from benchmarks.flop import flop_of

    products = plan.products(plan.cells.values())
    stages = [*plan.closure(dict.fromkeys(id_ for cell in plan.cells.values() for id_ in cell.inputs)).values()]
    seconds = 0.0
    for stage in (*stages, *plan.cells.values()):
        flop, updates = flop_of(stage, products.get(stage.id, ()))
        seconds += flop / FLOP_PER_SECOND + updates * SECONDS_PER_UPDATE
    return seconds / 3600
