"""PatchCore on 12 image sets of one category: goodshot with shared features against 12 anomalib Engine runs.

Same machine, same run, same images, backbone, seed and coreset share (10 %, anomalib's default). The sets are three
supports of one photograph each, with 5 and with 10 mildly and strongly augmented images. An Engine run is `fit` and
`test` with anomalib's own post-processor and metrics (AUROC and F1 of images and pixels), without its pictures and its
validation pass; it gets its images decoded, in memory and in batches of 32. Ours counts all of its work from the
category's files on, with all of its metrics. The Engine's raw scores go to scikit-learn: its own AUROC clamps them.
MVTec AD's pill where it lies beside the repository, else the demo's coin.
"""

from __future__ import annotations

import gc
import logging
import tempfile
import time
import warnings
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from goodshot.components.data import Sample, decode, read_dataset, read_split, select_support, write_demo, write_split
from goodshot.components.data.images import decode_mask, decode_rgb
from goodshot.components.detectors import DetectorConfig, SharesFeatures, build_detector
from goodshot.components.detectors.anomalib_model import everything_seeded
from goodshot.components.generator.augment import POLICIES, augmented_set
from goodshot.components.metrics.detection import evaluate

CONFIG = DetectorConfig(coreset_ratio=0.1)
REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "mvtec_ad_256"
BATCH = 32
# More, and anomalib's selection can need 20 GB: each time round it keeps a few bytes in the hole of a large block.
ADDED = (5, 10)


@dataclass(frozen=True)
class ImageSet:
    """What a detector is trained on: an original and the images added, uint8 (1, S, S, 3) and (M, S, S, 3)."""

    seed: int
    original: NDArray[np.uint8]
    added: NDArray[np.uint8]


@dataclass(frozen=True)
class Shown:
    """The test images uint8 (T, S, S, 3), their labels (T,), and the masks bool (S, S) of those that have one."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    masks: list[NDArray[np.bool_] | None]


def main() -> str:
    """Run both, compare AUROCs, return the ratio as text. Raises if an image AUROC differs."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        root, category = (REAL, "pill") if REAL.is_dir() else (write_demo(Path(folder) / "demo"), "coin")
        samples = read_dataset("demo" if category == "coin" else "mvtec_ad", root, category)
        test = [s for s in samples if s.split == "test"]
        sets = _image_sets(samples)
        # Both import anomalib and build a model: not what is compared.
        build_detector(CONFIG, 0)
        began = time.perf_counter()
        ours = _goodshot(sets, test, Path(folder))
        our_seconds = time.perf_counter() - began
        images = np.stack([decode_rgb(s.image_path.read_bytes(), CONFIG.image_size) for s in test])
        masks = [decode_mask(s.masks[0].path.read_bytes(), CONFIG.image_size) if s.masks else None for s in test]
        shown = Shown(images, np.array([s.label for s in test]), masks)
        began, theirs = time.perf_counter(), list[float]()
        # Its tables and progress bars are written all the same, but nowhere.
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            for image_set in sets:
                theirs.append(_engine(image_set, shown, folder))
                gc.collect()  # a run leaves gigabytes in reference cycles: its metrics keep every pixel
        their_seconds = time.perf_counter() - began
    worst = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
    if worst > 1e-12:
        raise AssertionError(f"an image AUROC differs by {worst:.1e}")
    return (
        f"detection: PatchCore on {len(sets)} image sets of {category}, {len(test)} test images: {our_seconds:.0f} s "
        f"against {their_seconds:.0f} s of Engine runs ({their_seconds / our_seconds:.1f} times less), "
        f"image AUROCs equal ({min(ours):.3f} to {max(ours):.3f})"
    )


def _image_sets(samples: list[Sample]) -> list[ImageSet]:
    train = {s.image_id: s for s in samples if s.split == "train"}
    sets = []
    for seed in range(3):
        (chosen,) = select_support(tuple(train), 1, seed)
        original = decode_rgb(train[chosen].image_path.read_bytes(), CONFIG.image_size)
        for policy in ("mild", "strong"):
            for copies in ADDED:
                added = augmented_set([original], POLICIES[policy], copies, seed)
                sets.append(ImageSet(seed, original[None], added))
    return sets


def _goodshot(sets: list[ImageSet], test: list[Sample], folder: Path) -> list[float]:
    with (folder / "test.arrow").open("wb") as sink:
        write_split(test, "test", sink)
    split = decode(read_split(folder / "test.arrow"), CONFIG.image_size, torch.get_num_threads())
    reader = build_detector(CONFIG, 0)
    assert isinstance(reader, SharesFeatures)
    tested, found = reader.embed(split.images), []
    for image_set in sets:
        detector = build_detector(CONFIG, image_set.seed)
        assert isinstance(detector, SharesFeatures)
        detector.fit([image_set.original, image_set.added])
        scores = detector.score_features(tested)
        found.append(evaluate(scores, split.labels, split.masks, split.defect_types).image_auroc)
    return found


def _engine(image_set: ImageSet, shown: Shown, folder: str) -> float:
    import lightning.pytorch as lightning
    from anomalib.data import ImageBatch
    from anomalib.engine import Engine
    from anomalib.models import Patchcore
    from anomalib.pre_processing import PreProcessor
    from sklearn.metrics import roc_auc_score
    from torchvision.transforms.v2 import Compose, InterpolationMode, Normalize, Resize

    from goodshot.components.weights import efficientnet_lite0_state_dict

    side = CONFIG.image_size

    def pixels(items: list[NDArray[np.uint8]]) -> torch.Tensor:
        return torch.from_numpy(np.stack(items)).permute(0, 3, 1, 2).float() / 255

    def train(items: list[NDArray[np.uint8]]) -> Any:
        return ImageBatch(image=pixels(items), gt_label=torch.zeros(len(items), dtype=torch.bool))

    def test(which: list[int]) -> Any:
        empty = np.zeros((side, side), bool)
        masks = np.stack([empty if (mask := shown.masks[i]) is None else mask for i in which])
        return ImageBatch(
            image=pixels([shown.images[i] for i in which]),
            gt_label=torch.from_numpy(shown.labels[which] > 0),
            gt_mask=torch.from_numpy(masks),
        )

    class InMemory(lightning.LightningDataModule):
        name, category = "memory", ""
        train_batch_size = eval_batch_size = BATCH

        def train_dataloader(self) -> DataLoader[Any]:
            return DataLoader([*image_set.original, *image_set.added], batch_size=BATCH, collate_fn=train)  # type: ignore[arg-type]

        def test_dataloader(self) -> DataLoader[Any]:
            return DataLoader(range(len(shown.images)), batch_size=BATCH, collate_fn=test)  # type: ignore[arg-type]

    resize = Resize((side, side), interpolation=InterpolationMode.BICUBIC, antialias=True)
    model = Patchcore(
        backbone=f"tf_{CONFIG.backbone}",
        layers=CONFIG.layers,
        pre_trained=False,
        coreset_sampling_ratio=CONFIG.coreset_ratio,
        pre_processor=PreProcessor(transform=Compose([resize, Normalize([0.5] * 3, [0.5] * 3)])),
        visualizer=False,
    )
    weights = efficientnet_lite0_state_dict()
    model.model.feature_extractor.feature_extractor.load_state_dict(weights, strict=False)
    engine = Engine(
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        default_root_dir=folder,
        max_epochs=1,
    )
    select = model.fit

    def seeded_selection() -> None:
        # The data loader draws from torch's state too: seeded before it, the coreset would be another one.
        with everything_seeded(image_set.seed, torch.device("cpu")):
            select()

    model.fit = seeded_selection
    engine.fit(model, datamodule=InMemory())
    scores: list[torch.Tensor] = []
    model.model.register_forward_hook(lambda *call: scores.append(call[2].pred_score.flatten()))
    engine.test(model, datamodule=InMemory())
    return float(roc_auc_score(shown.labels, torch.cat(scores).numpy()))
