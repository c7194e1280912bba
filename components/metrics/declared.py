"""Every metric that tables, figures and searches know: its name, its title, and where it is shown.

To add one: its entry in :data:`METRICS`, and the code that measures it (in a cell kind, or in `evaluate`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Objective = Literal["fair", "oracle"]
"""``fair``: a study may choose by it. ``oracle``: it looks at test labels, so a study that chooses by it is marked."""
Table = Literal["results", "heat_maps", "by_kind", "further", "image_set", "latents", "defect_images"]
"""``results``: every results table. ``heat_maps``: over the points of a sweep. ``by_kind``: by kind of defect.
``further``: the other metrics of the test set. ``image_set``: quality of the images that an arm adds. ``latents``: the
distribution of a generator's latents. ``defect_images``: quality of made defective images."""


@dataclass(frozen=True)
class Metric:
    """One metric.

    name: its column in ``results/``, or its name in ``metrics/``. The values of an image set are columns of the rows of
        ``images`` cells, and long metrics of other rows; those of latents are both in the rows of ``latents`` cells.
    title: the metric's name in tables.
    limit: the limit of the measurement, which the tables of long metrics add to the title.
    in_words: the measured quantity, as the beginning of a sentence.
    better: which direction is an improvement; ``neither`` if none is.
    is_fraction: whether its values are fractions, whose differences are read in percentage points.
    column: whether searches and W&B see it in a row.
    shown: the tables that it heads.
    objective: whether a study may choose its hyperparameters by it.
    blind_to: the fields of a study that do not change it, or make its values incomparable.
    """

    name: str
    title: str
    limit: str = ""
    in_words: str = ""
    better: Literal["higher", "lower", "neither"] = "higher"
    is_fraction: bool = True
    column: bool = False
    shown: tuple[Table, ...] = ()
    objective: Objective | None = None
    blind_to: frozenset[str] = frozenset()

    @property
    def full_title(self) -> str:
        """The title with the limit: ``AUPRO (FPR ≤ 0.3)``."""
        return f"{self.title} ({self.limit})" if self.limit else self.title


PROMPT_COSINE = Metric("prompt_cosine", "cosine of prompt and photograph")
"""Read from the ranking of prompts (eq. 1), so that neither rows nor long metrics have it."""
METRICS: tuple[Metric, ...] = (
    Metric("image_auroc", "image AUROC", column=True, shown=("results", "heat_maps", "by_kind"), objective="oracle"),
    Metric("pixel_auroc", "pixel AUROC", column=True, shown=("results",), objective="oracle"),
    Metric("image_ap", "image AP", shown=("results", "further")),
    Metric("image_f1_max", "image F1-max", shown=("results", "further")),
    Metric("pixel_ap", "pixel AP", shown=("results", "further")),
    Metric("pixel_f1_max", "pixel F1-max", shown=("results", "further")),
    Metric("au_spro_0.05", "AU-sPRO", limit="FPR ≤ 0.05", shown=("by_kind", "further")),
    Metric("aupro", "AUPRO", limit="FPR ≤ 0.3", column=True, shown=("results", "by_kind"), objective="oracle"),
    Metric(
        "similarity",
        "similarity",
        in_words="Similarity to the text",
        column=True,
        shown=("results", "heat_maps"),
        objective="fair",
        # Similarities of two encoders cannot be compared, and no field of a detector changes a similarity.
        blind_to=frozenset({"encoder", "encoder_precision", "detectors"}),
    ),
    Metric(
        "planted",
        "synthetic AUROC",
        in_words="AUROC against synthetic anomalies",
        column=True,
        shown=("results", "heat_maps"),
        objective="fair",
    ),
    PROMPT_COSINE,
    Metric("ssim", "SSIM", shown=("results", "image_set")),
    Metric("psnr", "PSNR, dB", is_fraction=False, shown=("results", "image_set")),
    Metric("lpips", "LPIPS", better="lower", is_fraction=False, shown=("results", "image_set")),
    Metric("lpips_lite0", "lpips_lite0", better="lower", is_fraction=False, shown=("results", "image_set")),
    Metric("is", "IS", is_fraction=False, shown=("results", "by_kind", "image_set", "defect_images")),
    Metric("is_lite0", "is_lite0", is_fraction=False, shown=("results", "by_kind", "image_set", "defect_images")),
    Metric("diversity_lpips", "diversity (LPIPS)", is_fraction=False, shown=("image_set",)),
    Metric("diversity_lpips_lite0", "diversity (lpips_lite0)", is_fraction=False, shown=("image_set",)),
    Metric("original_similarity_lite0", "similarity to the originals (lite0)", shown=("image_set",)),
    Metric("pixel_variance", "pixel variance", is_fraction=False, shown=("image_set",)),
    Metric("ic_clusters", "clusters of IC-LPIPS", better="neither", is_fraction=False),
    Metric("latent_variance", "Σ", better="neither", is_fraction=False, shown=("results", "latents")),
    Metric("latent_view_variance", "Σ over views", better="neither", is_fraction=False, shown=("latents",)),
    Metric("latent_zero_variance", "share of Σ = 0", better="neither", shown=("results", "latents")),
    Metric("latent_skewness", "skewness", better="neither", is_fraction=False, shown=("results", "latents")),
    Metric("latent_kurtosis", "excess kurtosis", better="neither", is_fraction=False, shown=("results", "latents")),
    Metric("latent_ks", "KS distance to N(0, 1)", better="lower", shown=("results", "latents")),
    Metric("image_auroc_detector", "image AUROC, detector alone", shown=("results",)),
    Metric("image_auroc_segmenter", "image AUROC, segmenter alone", shown=("results",)),
    Metric("pixel_ap_detector", "pixel AP, detector alone", shown=("results",)),
    Metric("pixel_ap_segmenter", "pixel AP, segmenter alone", shown=("results",)),
    Metric("ic_lpips", "IC-LPIPS", is_fraction=False, shown=("results", "by_kind", "defect_images")),
    Metric("ic_lpips_lite0", "ic_lpips_lite0", is_fraction=False, shown=("results", "by_kind", "defect_images")),
    Metric(
        "background_difference",
        "background difference, grey levels",
        better="lower",
        is_fraction=False,
        shown=("results", "defect_images"),
    ),
    Metric("background_psnr", "background PSNR, dB", is_fraction=False, shown=("defect_images",)),
    Metric("background_lpips", "background LPIPS", better="lower", is_fraction=False, shown=("defect_images",)),
    Metric(
        "background_lpips_lite0",
        "background lpips_lite0",
        better="lower",
        is_fraction=False,
        shown=("defect_images",),
    ),
    Metric("defect_accuracy", "accuracy of types", shown=("results", "by_kind")),
    Metric("defect_accuracy_lite0", "accuracy of types (lite0)", shown=("results", "by_kind")),
    Metric(
        "defect_accuracy_resnet34_scratch", "accuracy of types (ResNet-34 from scratch)", shown=("results", "by_kind")
    ),
    Metric("defect_accuracy_macro", "mean accuracy over types", shown=("further",)),
)


def columns() -> tuple[Metric, ...]:
    """The metrics that searches and W&B see in rows."""
    return tuple(metric for metric in METRICS if metric.column)


def shown_in(table: Table) -> tuple[Metric, ...]:
    """The metrics that head a table."""
    return tuple(metric for metric in METRICS if table in metric.shown)


def objectives() -> tuple[Metric, ...]:
    """The metrics that a study may choose by, the fair ones first."""
    allowed = [metric for metric in METRICS if metric.objective is not None]
    return tuple(sorted(allowed, key=lambda metric: metric.objective != "fair"))


def metric_of(name: str) -> Metric:
    """The metric of this name. Raises KeyError for any other."""
    for metric in METRICS:
        if metric.name == name:
            return metric
    raise KeyError(name)
