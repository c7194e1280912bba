"""The other stages as functions of the store: shard, prompt, detection. Each commits its artifact or its rows."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch

from components.data.crop import centre_crop
from components.data.shards import Split
from components.detectors import Detector, DetectorConfig, Features, Scores, SharesFeatures, build_detector
from components.detectors.base import Batch
from components.encoders import Encoder, Precision, build_encoder
from components.errors import BadInput
from components.generator.augment import POLICIES, augment, augmented_set, to_uint8
from components.metrics.detection import DetectionMetrics, evaluate
from components.prompts import candidates, rank
from runner.plan.plan import PlannedCell, PromptStage
from runner.results.results import Results, software
from runner.stages.image_sets import embed
from runner.stages.planted import planted_auroc, planted_values
from runner.stages.quality import quality_values
from runner.stages.shard import read_support
from runner.store.artifacts import Store, arrays_bytes

MAPS_KEPT = 8
# Of one test split, in Ray's object store: 1,000 images of PatchCore's on WideResNet-50 at 224 px are 4.8 GB.
LARGEST_SHARED = 2 << 30


def rank_prompts(stage: PromptStage, originals: Sequence[np.ndarray], store: Store, device: str = "cpu") -> None:
    """Rank the candidates against the originals' embedding (eq. 1); keep the ranking and each kind's z_t."""
    began = time.perf_counter()
    encoder = cached_encoder(stage.encoder, device, stage.precision)
    images = torch.from_numpy(np.concatenate([embed(encoder, image[None]) for image in originals]))
    found = candidates(stage.object_name, stage.words, stage.config.template)
    ranking = rank(images, found, encoder, stage.object_name, stage.config)
    prompts = {kind: ranking.prompt(kind) for kind in ("best", "only_word", "naive", "worst")}
    texts = encoder.encode_texts(list(prompts.values())).float().cpu().numpy()
    files = {
        "ranking.json": ranking.to_json().encode(),
        "embeddings.safetensors": arrays_bytes(dict(zip(prompts, texts, strict=True))),
    }
    store.put(stage.key, files, {"prompts": prompts, "seconds": time.perf_counter() - began})


@dataclass(frozen=True)
class SharedFeatures:
    """A detector's features of a cell's originals and of its test images; None for what is too large to be kept."""

    originals: Features | None = None
    test: Features | None = None


def embed_images(
    detector: DetectorConfig, images: Batch | Sequence[np.ndarray], device: str = "cpu"
) -> Features | None:
    """Features of images (N, H, W, 3), or of N images of their own sizes; None above ``LARGEST_SHARED`` bytes."""
    reader = build_detector(detector, 0, device)
    if not isinstance(reader, SharesFeatures):
        raise BadInput(f"{detector.label} has no features to share")
    each = [reader.embed(image[None]) for image in images[:1]]
    if not each or each[0].nbytes * len(images) > LARGEST_SHARED:
        return None
    return np.concatenate(each + [reader.embed(image[None]) for image in images[1:]])


def detect(
    planned: PlannedCell,
    originals: Sequence[np.ndarray],
    test: Split,
    store: Store,
    results: Results,
    device: str,
    shared: SharedFeatures = SharedFeatures(),
) -> dict[str, Any]:
    """Train the cell's detector on its arm, score the test images, and append the cell's rows. Returns the row.

    With ``shared`` features the numbers are the same; the seconds are without what was shared.
    """
    cell = planned.cell
    extra, facts = extra_images(planned, store)
    detector = build_detector(cell.detector, cell.seed, device, planned.object_name)
    began = time.perf_counter()
    _fit(detector, [image[None] for image in originals], extra, shared.originals)
    fitted = time.perf_counter()
    if shared.test is not None and isinstance(detector, SharesFeatures):
        scores = detector.score_features(shared.test)
    else:
        scores = detector.score(test.images)
    facts |= {"seconds_fit": fitted - began, "seconds_score": time.perf_counter() - fitted}
    test = centre_crop(test, cell.detector.crop)  # as the detector did
    # Some models of anomalib score images alone.
    masks = None if np.isnan(scores.maps).all() else test.masks
    metrics = evaluate(scores, test.labels, masks, test.defect_types, test.defects)
    if extra is not None:
        metrics = replace(metrics, values=metrics.values + quality_values(extra, originals, store))
    if planned.planted is not None:
        read = partial(_read_others, planned, store)
        values = planted_values(planned.planted, detector, read, planned.support.ids)
        metrics = replace(metrics, values=metrics.values + values)
        facts["planted"] = planted_auroc(values)
    if planned.keep_maps:
        _keep_maps(planned.fingerprint, test, scores, store)
    return _append(planned, test, scores, metrics, {**facts, "device": device}, results)


def _fit(detector: Detector, originals: list[Batch], extra: Batch | None, features: Features | None) -> None:
    added = [] if extra is None else [extra]
    if features is not None and isinstance(detector, SharesFeatures):
        detector.fit_features([features, *map(detector.embed, added)])
    else:
        detector.fit([*originals, *added])


def _read_others(planned: PlannedCell, store: Store, ids: Sequence[str]) -> list[np.ndarray]:
    """Training images of the cell's category, (S, S, 3) at its detector's size."""
    return read_support(replace(planned.support, ids=tuple(ids)), store, planned.cell.detector.image_size)


@lru_cache(maxsize=2)
def cached_encoder(name: str, device: str = "cpu", precision: Precision = "fp32") -> Encoder:
    """One encoder a process; building one costs seconds."""
    return build_encoder(name, device, precision=precision)


def extra_images(planned: PlannedCell, store: Store) -> tuple[np.ndarray | None, dict[str, Any]]:
    """What the arm adds to its originals after ``post_augment``, uint8 (M, H, W, 3), and what a row says of it."""
    cell = planned.cell
    if cell.arm == "augmented":
        # At the detector's resolution: plain augmentation needs no generator, so nothing has to blur it.
        originals = read_support(planned.support, store, cell.detector.image_size)
        return augmented_set(originals, POLICIES[planned.control_policy], cell.copies, cell.seed), {}
    if planned.image_set is None:
        return None, {}
    artifact = store.get(planned.image_set)
    images = artifact.arrays("images.safetensors")["images"]
    if cell.generation is None:
        return images, {}
    facts = {
        "chosen_iteration": artifact.info["iteration"],
        "similarity": artifact.info["similarity"],
        "seconds_generator": artifact.info["seconds"],
    }
    if planned.prompt:
        ranking = store.get(planned.prompt).info
        facts |= {"prompt": ranking["prompts"][cell.generation.prompt_kind], "seconds_prompt": ranking["seconds"]}
    return _post_augmented(images, cell.generation.post_augment, cell.seed), facts


def _post_augmented(images: np.ndarray, policy: str, seed: int) -> np.ndarray:
    """Plain augmentation on top of generated images, one view of each (METHOD's ``post_augment``)."""
    if policy == "none":
        return images
    tensors = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    views = [augment(image, POLICIES[policy], 1, seed, (m,))[0] for m, image in enumerate(tensors)]
    return to_uint8(torch.stack(views))


def _append(
    planned: PlannedCell,
    test: Split,
    scores: Scores,
    metrics: DetectionMetrics,
    facts: dict[str, Any],
    results: Results,
) -> dict[str, Any]:
    row = {
        **planned.columns,
        "image_auroc": metrics.image_auroc,
        "pixel_auroc": metrics.pixel_auroc,
        "aupro": metrics.aupro,
        **facts,
        "n_test": len(test.image_ids),
        "fingerprint": planned.fingerprint,
        **software(),
    }
    per_image = [
        {
            "fingerprint": planned.fingerprint,
            "image_id": image_id,
            "label": int(label),
            "defect_type": defect_type,
            "score": float(score),
        }
        for image_id, label, defect_type, score in zip(
            test.image_ids, test.labels, test.defect_types, scores.image, strict=True
        )
    ]
    long = [{"fingerprint": planned.fingerprint, **asdict(value)} for value in metrics.values]
    results.append(planned.fingerprint, row, per_image, long)
    return row


@dataclass(frozen=True)
class KeptMaps:
    """A few test images of a cell for the report: ids, images uint8 (n, S, S, 3), masks and maps (n, S, S)."""

    image_ids: tuple[str, ...]
    images: np.ndarray
    masks: np.ndarray
    maps: np.ndarray


def _keep_maps(fingerprint: str, test: Split, scores: Scores, store: Store) -> None:
    """The first test image of each defect type, good ones first: chosen by name, never by how well they score."""
    types = sorted(set(test.defect_types), key=lambda t: (t != "good", t))[:MAPS_KEPT]
    chosen = [list(test.defect_types).index(t) for t in types]
    arrays = {
        "images": test.images[chosen],
        "masks": test.masks[chosen],
        "maps": scores.maps[chosen].astype(np.float16),
    }
    info = {"image_ids": [test.image_ids[i] for i in chosen]}
    store.put(f"maps/{fingerprint}", {"maps.safetensors": arrays_bytes(arrays)}, info)


def kept_maps(fingerprint: str, store: Store) -> KeptMaps | None:
    """What :func:`detect` kept of a cell, or None."""
    key = f"maps/{fingerprint}"
    if not store.has(key):
        return None
    artifact = store.get(key)
    arrays = artifact.arrays("maps.safetensors")
    return KeptMaps(tuple(artifact.info["image_ids"]), arrays["images"], arrays["masks"], arrays["maps"])


def ranking_of(key: str, store: Store) -> dict[str, Any]:
    """A prompt stage's ranking as plain values."""
    value: dict[str, Any] = json.loads(store.get(key).read("ranking.json"))
    return value
