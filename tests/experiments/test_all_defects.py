"""The real flavours of AnomalyXFusion's tables on layout-exact miniatures of all categories: what they share."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from goodshot.components.data.datasets import dataset_of
from goodshot.components.fusion.config import SMALL
from goodshot.runner.named import load_studies
from goodshot.runner.plan.plan import Plan
from goodshot.runner.run.execute import plan_studies
from goodshot.runner.run.options import Options
from goodshot.runner.stages.defect_set import DefectSetStage
from goodshot.runner.stages.fusion import DiffusionBaseStage, FusionStage, MaskEncoderStage
from goodshot.runner.stages.segmenter import SegmenterStage
from goodshot.runner.study.study import Study
from tests.data import miniatures

ONE_TYPE = "toothbrush"
EMBEDDED = [
    "preset=default",
    "copies=2",
    f"synthesis={{fusion: {{base: {SMALL}}}, classifier: {{network: lite0}}}}",
    "detectors=[{image_size: 64}]",
]
"""The real flavours with few images, a base from scratch and embedded weights."""
GOOD, EACH = 3, 4
SEEDS = 3


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder, left = tmp_path_factory.mktemp("all"), 0
    roots = {"mvtec_ad": folder / "ad", "mvtec_loco": folder / "loco"}
    for category in dataset_of("mvtec_ad").categories:
        kinds = ("defective",) if category == ONE_TYPE else ("broken", "scratch")
        write(roots["mvtec_ad"] / category, kinds, "_mask.png", left := left + 20)
    for category in dataset_of("mvtec_loco").categories:
        folder, kinds = roots["mvtec_loco"] / category, ("logical_anomalies", "structural_anomalies")
        write(folder, kinds, "/000.png", left := left + 20, ("train", "validation", "test"))
        (folder / "defects_config.json").write_text(json.dumps(miniatures.DEFECTS))
    return roots


def write(
    folder: Path, kinds: tuple[str, ...], mask: str, left: int, splits: tuple[str, ...] = ("train", "test")
) -> None:
    """Good images of each split, and some of each defect type, of which a third is learned from."""
    for i in range(GOOD):
        for split in splits:
            miniatures.photo(folder / split / "good" / f"{i:03d}.png", 3 * len(split) + i, left=left)
    for n, kind in enumerate(kinds):
        for i in range(EACH):
            miniatures.photo(folder / "test" / kind / f"{i:03d}.png", 40 + 10 * n + i, left=left)
            miniatures.mask(folder / "ground_truth" / kind / f"{i:03d}{mask}", (slice(4, 20 + n), slice(i, 12 + i)))


def studies_of(names: tuple[str, ...], roots: dict[str, Path], given: tuple[str, ...]) -> list[Study]:
    studies: list[Study] = []
    for name in names:
        read = dict.fromkeys(study.dataset.name for study in load_studies(name)[1])
        studies += load_studies(name, [*EMBEDDED, *given], roots=[f"{dataset}={roots[dataset]}" for dataset in read])[1]
    return studies


def planned(names: tuple[str, ...], roots: dict[str, Path], tmp_path: Path, *given: str) -> Plan:
    return plan_studies(studies_of(names, roots, given), Options(str(tmp_path / "out")))


def test_the_tables_of_mvtec_ad_share_their_trainings(roots: dict[str, Path], tmp_path: Path) -> None:
    first = planned(("fusion_table1",), roots, tmp_path)
    assert len(first.of(MaskEncoderStage)) == len(first.of(DiffusionBaseStage)) == 1
    assert len(first.of(FusionStage)) == 15 * SEEDS * 2
    plan = planned(("fusion_table1", "fusion_table3", "fusion_table4", "fusion_fig4"), roots, tmp_path)
    for kind in (MaskEncoderStage, DiffusionBaseStage, FusionStage):
        assert {stage.key for stage in plan.of(kind)} == {stage.key for stage in first.of(kind)}
    ablation = planned(("fusion_table1", "fusion_table6", "fusion_fig5"), roots, tmp_path)
    assert len(ablation.of(MaskEncoderStage)) == len(ablation.of(DiffusionBaseStage)) == 1
    assert len(ablation.of(FusionStage)) == 15 * SEEDS * 5
    of_first = {stage.key for stage in first.of(DefectSetStage)}
    assert of_first < {stage.key for stage in ablation.of(DefectSetStage)}


def test_a_single_type_is_made_and_segmented_but_not_told_apart(roots: dict[str, Path], tmp_path: Path) -> None:
    plan = planned(("fusion_table3", "fusion_table4", "fusion_table6"), roots, tmp_path)
    of_type = Counter(cell.cell.kind.name for cell in plan.cells.values() if cell.cell.category == ONE_TYPE)
    others = Counter(cell.cell.kind.name for cell in plan.cells.values() if cell.cell.category == "bottle")
    assert of_type.keys() == {"segmentation", "defect_images"}
    assert others.keys() == {"segmentation", "defect_images", "classification"}
    assert {name: others[name] for name in of_type} == of_type


def test_the_tables_of_loco_share_their_trainings(roots: dict[str, Path], tmp_path: Path) -> None:
    plan = planned(("fusion_table2", "fusion_table5"), roots, tmp_path)
    assert len(plan.of(MaskEncoderStage)) == len(plan.of(DiffusionBaseStage)) == 1
    assert len(plan.of(FusionStage)) == 5 * SEEDS * 2


def test_both_systems_train_a_segmenter_once_for_all_detectors(roots: dict[str, Path], tmp_path: Path) -> None:
    plan = planned(("both_systems",), roots, tmp_path, "shots=2")
    cells = [cell for cell in plan.cells.values() if cell.cell.category == "bottle"]
    # Three sources of defects beside the originals alone and with generated ones.
    assert len(cells) == SEEDS * 3 * 2
    assert len(plan.of(SegmenterStage)) == 15 * SEEDS * 3
