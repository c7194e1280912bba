"""The numbers that the TGI paper prints, table by table and figure by figure, as references.

Lee & Choi, "Text-Guided Variational Image Generation for Industrial Anomaly Detection and Segmentation", CVPR 2024,
arXiv:2403.06247. Numbers stand here as they are printed, mostly in percent, and become fractions in the references.
Where the paper states no setting, the reference says so; nothing is filled in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from goodshot.runner.study.experiment import Reference

PAPER = "TGI, CVPR 2024"

CAPTION = (
    "This image displays a single hazelnut with a textured, fibrous cap on top. The nut itself has a rich, one image "
    "was created using warm brown color with visible stripes and markings that suggest a natural origin. It rests "
    "against a dark background which serves to highlight the nut's detailed texture and organic shape."
)
"""GPT-4's caption of the paper's hazelnut, as §3 prints it: the "generated prompt" of Table 1."""

GENERATED_WITH = {"init": "taming:imagenet_1024", "perceptual": "lpips", "encoder": "open_clip:ViT-B-32:openai"}
"""What the paper generates with, in the columns of a row: a published VQGAN with its LPIPS, and CLIP. The paper states
neither K nor CLIP's size; these are those of ``preset: paper``."""
MEASURED_WITH = {**GENERATED_WITH, "detector": "patchcore-paper"}
"""The setting of the experiments with PatchCore alone; the paper does not state its backbone."""

Where = Mapping[str, Any]
HAZELNUT: Where = {"dataset": "mvtec_ad", "category": "hazelnut", "shots": "1"}
METRICS = ("image_auroc", "pixel_auroc")


def fraction(percent: float) -> float:
    """A printed percentage as a fraction, without the rounding errors of a division."""
    return round(percent / 100, 6)


def _table_1() -> Iterator[Reference]:
    rows: tuple[tuple[str, Where, float, float], ...] = (
        ("Original Image", {"arm": "original"}, 88.3, 94.3),
        ("Web Image", {"arm": "external:web"}, 84.8, 93.1),
        ("Midjourney (by Generated Prompt)", {"arm": "external:midjourney"}, 82.7, 93.3),
        ("DALL-E (by Generated Prompt)", {"arm": "external:dalle"}, 85.7, 91.9),
        ("VQGAN-CLIP (by Only word)", {"arm": "vqgan_clip", "prompt_kind": "only_word"}, 64.8, 86.8),
        ("VQGAN-CLIP (by Naïve Prompt)", {"arm": "vqgan_clip", "prompt_kind": "naive"}, 71.9, 88.2),
        ("VQGAN-CLIP (by Generated Prompt)", {"arm": "vqgan_clip", "prompt_kind": "caption"}, 81.4, 91.7),
        ("Ours", {"arm": "generated", "prompt_kind": "best"}, 93.3, 94.6),
    )
    for name, arm, *printed in rows:
        where = {**HAZELNUT, **arm, "copies": 0 if name == "Original Image" else 1}
        for metric, value in zip(METRICS, printed, strict=True):
            source = f"{PAPER}, Table 1, {name}"
            yield Reference(
                source, metric, fraction(value), where, "PatchCore, one image added", measured_with=MEASURED_WITH
            )


TABLE_1 = tuple(_table_1())


def _table_2() -> Iterator[Reference]:
    rows = (
        ("Only word", "only_word", 1.62, 0.50, 19.01, 984.15),
        ("Naïve prompt", "naive", 1.34, 0.78, 23.46, 764.48),
        ("Worst prompt", "worst", 4.56, 0.79, 23.57, 782.75),
        ("Our prompt", "best", 22.59, 0.90, 28.39, 701.84),
    )
    for name, kind, *printed in rows:
        for metric, value in zip(("is", "ssim", "psnr", "lpips"), printed, strict=True):
            yield Reference(
                f"{PAPER}, Table 2, {name}",
                metric,
                value,
                {**HAZELNUT, "arm": "generated", "prompt_kind": kind},
                "the number of images is not stated",
                measured_with=GENERATED_WITH,
                doubt="LPIPS is at most about 1: another scale" if metric == "lpips" else "",
            )


TABLE_2 = tuple(_table_2())

Printed = tuple[float, float, float]
"""A value, its ±, and the printed gain over the baseline, all in percent."""


def _copies(images: int) -> Where:
    return {"arm": "generated", "select": "text", "variance": "estimated", "copies": images}


def _table_3() -> Iterator[Reference]:
    varied: Where = {"arm": "generated", "copies": 20}
    rows: tuple[tuple[str, Where, Printed, Printed], ...] = (
        ("Baseline", {"arm": "original"}, (74.5, 1.6, 0.0), (97.0, 0.1, 0.0)),
        ("w/o Text", {**varied, "select": "last", "variance": "estimated"}, (77.6, 0.6, 3.1), (97.1, 0.0, 0.1)),
        ("w/ Text (ours)", {**varied, "select": "text", "variance": "estimated"}, (79.1, 0.6, 4.6), (96.9, 0.0, -0.1)),
        ("1-copy", _copies(1), (78.6, 0.4, 4.1), (97.0, 0.0, 0.0)),
        ("10-copy", _copies(10), (77.9, 0.4, 3.4), (96.9, 0.0, -0.1)),
        ("20-copy", _copies(20), (78.4, 0.5, 3.9), (97.0, 0.0, 0.0)),
        ("30-copy", _copies(30), (79.0, 0.7, 4.5), (97.0, 0.0, 0.0)),
        ("50-copy", _copies(50), (78.5, 0.3, 4.0), (96.9, 0.1, -0.1)),
        ("100-copy", _copies(100), (78.4, 0.5, 3.9), (96.9, 0.0, -0.1)),
        ("w/o Variance", {**varied, "select": "text", "variance": "none"}, (74.3, 0.4, -0.2), (97.0, 0.0, 0.0)),
        (
            "w/ Variance (ours)",
            {**varied, "select": "text", "variance": "estimated"},
            (78.9, 0.5, 4.3),
            (97.3, 0.0, 0.3),
        ),
    )
    for name, arm, *printed in rows:
        for metric, (value, spread, gain) in zip(METRICS, printed, strict=True):
            one = Reference(
                f"{PAPER}, Table 3, {name}",
                metric,
                fraction(value),
                {"dataset": "mvtec_ad", "shots": "1", **arm},
                "neither category nor number of shots is stated; they are taken as all and one",
                spread=fraction(spread),
                mean_over=("category",),
                measured_with=MEASURED_WITH,
            )
            yield one
            if name != "Baseline":
                slip = "78.9 − 74.5 is 4.4" if gain == 4.3 else ""
                yield replace(one, value=fraction(gain), spread=None, over="original", unit="points", doubt=slip)


TABLE_3 = tuple(_table_3())
"""The full method appears three times, as "w/ Text", "20-copy" and "w/ Variance": 79.1, 78.4 and 78.9."""

FIGURE_2 = tuple(
    Reference(
        f"{PAPER}, §3 with Fig. 2",
        "prompt_correlation",
        value,
        {**HAZELNUT, "prompt_kind": kind},
        '"the correlation between the original image and" each prompt; how it is computed is not stated',
        measured_with=GENERATED_WITH,
    )
    for kind, value in (("naive", 0.39), ("only_word", 0.35), ("best", 0.54))
)


def _gain(figure: str, metric: str, percent: float, where: Where, **fields: Any) -> Reference:
    """A printed improvement over the detector without added images."""
    return Reference(
        f"{PAPER}, {figure}",
        metric,
        fraction(percent),
        {"arm": "generated", **where},
        "one that the paper prints as +x %, without saying whether in points or relative",
        over="original",
        unit="unstated",
        **{"measured_with": MEASURED_WITH, **fields},
    )


def _figure_5() -> Iterator[Reference]:
    fields: dict[str, Any] = {"measured_with": GENERATED_WITH, "mean_over": ("category", "detector")}
    for shots, percent in (("1", 15.7), ("5", 14.1), ("full", 5.6)):
        where = {"dataset": "mvtec_ad", "shots": shots}
        yield _gain("Fig. 5, average increase", "image_auroc", percent, where, **fields)
    best = (("cable", "patchcore", 19.1), ("metal_nut", "patchcore", 18.5), ("leather", "reverse_distillation", 73.3))
    for category, detector, percent in best:
        where = {"dataset": "mvtec_ad", "category": category, "shots": "1", "detector": detector}
        yield _gain("Fig. 5, five most improved", "image_auroc", percent, where, measured_with=GENERATED_WITH)


FIGURE_5 = tuple(_figure_5())

FIGURE_6 = tuple(
    _gain(f"Fig. 6, {kind}", metric, percent, {"dataset": "btad", "category": category, "shots": "1"})
    for category, kind, *printed in (("01", "object", 20.2, 4.4), ("02", "texture", 4.0, 1.3))
    for metric, percent in zip(METRICS, printed, strict=True)
)

FIGURE_7 = tuple(
    _gain(
        f"Fig. 7, {kind} type",
        metric,
        percent,
        {"dataset": "mvtec_loco", "shots": "1"},
        subset=f"{kind}_anomalies",
        mean_over=("category",),
    )
    for kind, *printed in (("logical", 15.5, 15.8), ("structural", 10.6, 4.3))
    for metric, percent in zip(METRICS, printed, strict=True)
)

FIGURE_8 = tuple(
    Reference(
        f"{PAPER}, Fig. 8",
        "prompt_cosine",
        fraction(percent),
        {**HAZELNUT, "prompt_kind": kind},
        f"similarity of the image and the {kind} prompt, {prompt}",
        measured_with=GENERATED_WITH,
        doubt=doubt,
    )
    for kind, percent, prompt, doubt in (
        ("best", 33, '"a {hazelnut} with {cobnut}"', ""),
        ("worst", 17, '"a {hazelnut} with {decantherous}"', '"decantherous" is no word of WordNet'),
    )
)
