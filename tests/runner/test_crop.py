"""A detector that crops: what a cell keeps is of the middle of the images, and its maps lie where the masks do."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from components.data.crop import centre_crop
from components.metrics.detection import evaluate
from runner.results.results import Results
from runner.run.execute import plan_studies
from runner.run.options import Options
from runner.stages.shard import make_shards, read_support, read_test
from runner.stages.stages import detect, kept_maps
from runner.store.artifacts import Store
from runner.study.study import Study


def test_maps_masks_and_kept_images_are_of_the_crop(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    study = tiny_study(arms=["original"], detectors=[{"image_size": 64, "crop": 48}])
    plan = plan_studies([study], Options(str(tmp_path)))
    (category,), (planned,) = plan.categories.values(), plan.cells.values()
    store, results = Store(str(tmp_path / "store")), Results(str(tmp_path))
    make_shards(category.samples, category.shard, store, category.source)
    test = read_test(store, category.shard, planned.cell.detector.image_size)
    row = detect(planned, read_support(planned.support, store), test, store, results, "cpu")
    assert (row["image_size"], row["crop"]) == (64, 48)
    kept = kept_maps(planned.fingerprint, store)
    assert kept is not None
    assert kept.images.shape[1:] == (48, 48, 3)
    assert kept.maps.shape == kept.masks.shape == kept.images.shape[:3]
    first = test.image_ids.index(kept.image_ids[-1])
    assert np.array_equal(kept.masks[-1], centre_crop(test, 48).masks[first])

    from components.detectors import build_detector

    detector = build_detector(planned.cell.detector, planned.cell.seed)
    detector.fit([image[None] for image in read_support(planned.support, store)])
    # The detector cuts what it is given in full; what is cut before is no longer cut in the middle.
    cut = centre_crop(test, 48)
    expected = evaluate(detector.score(test.images), test.labels, cut.masks, resamples=0)
    assert row["pixel_auroc"] == expected.pixel_auroc
