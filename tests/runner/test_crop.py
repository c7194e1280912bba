"""A detector that crops: what a cell keeps is of the middle of the images, and its maps lie where the masks do."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from goodshot.components.data.crop import centre_crop
from goodshot.components.detectors import build_detector
from goodshot.components.metrics.detection import evaluate
from goodshot.runner.cells.detection import DetectionStage
from goodshot.runner.executor.local import LocalExecutor
from goodshot.runner.results.results import Results
from goodshot.runner.run.execute import plan_studies
from goodshot.runner.run.options import Options
from goodshot.runner.stages.shard import read_support, read_test
from goodshot.runner.store.artifacts import Store
from goodshot.runner.study.study import Study


def test_maps_masks_and_kept_images_are_of_the_crop(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    study = tiny_study(arms=["original"], detectors=[{"image_size": 64, "crop": 48}])
    plan = plan_studies([study], Options(str(tmp_path)))
    store, results = Store(str(tmp_path / "store")), Results(str(tmp_path))
    LocalExecutor(plan, store, results).run(list(plan.cells))
    (cell,), (row,) = plan.cells.values(), results.rows().values()
    assert isinstance(cell, DetectionStage)
    assert (row["image_size"], row["crop"]) == (64, 48)
    kept = store.get(f"maps/{cell.fingerprint}")
    arrays = kept.arrays("maps.safetensors")
    assert arrays["images"].shape[1:] == (48, 48, 3)
    assert arrays["maps"].shape == arrays["masks"].shape == arrays["images"].shape[:3]
    test = read_test(store, cell.support.shard, cell.detector.image_size)
    # The detector cuts what it is given in full; what is cut before is no longer cut in the middle.
    cut = centre_crop(test, 48)
    first = test.image_ids.index(kept.info["image_ids"][-1])
    assert np.array_equal(arrays["masks"][-1], cut.masks[first])

    detector = build_detector(cell.detector, cell.cell.seed)
    detector.fit([image[None] for image in read_support(cell.support, store)])
    expected = evaluate(detector.score(test.images), test.labels, cut.masks, resamples=0)
    assert row["pixel_auroc"] == expected.pixel_auroc
