"""The three result tables in the README of TGI's repository, as printed, and what is wrong with them.

Image AUROC of four detectors trained on the originals and generated images, for the 15 categories of MVTec AD. The
tables state neither supports nor deviations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from goodshot.experiments.published.tgi import GENERATED_WITH
from goodshot.runner.study.experiment import Reference

REPOSITORY = "TGI's repository, README"
CATEGORIES = (
    *("carpet", "grid", "leather", "tile", "wood", "bottle", "cable", "capsule", "hazelnut", "metal_nut", "pill"),
    *("screw", "toothbrush", "transistor", "zipper"),
)
"""The order of the tables' columns."""


@dataclass(frozen=True)
class Row:
    """A row as printed: its label and network, the printed average, and the values in the order of ``CATEGORIES``.

    family: the detector's family in our rows. backbone: its network in our rows, where that can be the same.
    """

    label: str
    network: str
    family: str
    backbone: str | None
    average: float
    values: tuple[float, ...]

    @property
    def true_average(self) -> float:
        """The mean of the values."""
        return sum(self.values) / len(self.values)

    @property
    def by_category(self) -> Mapping[str, float]:
        """Category → value."""
        return MappingProxyType(dict(zip(CATEGORIES, self.values, strict=True)))


def _patchcore(average: float, *values: float) -> Row:
    return Row("PatchCore", "ResNet-18", "patchcore", "resnet18", average, values)


def _cflow(average: float, *values: float) -> Row:
    return Row("CFlow", "ResNet-18", "cflow", "resnet18", average, values)


def _distillation(average: float, *values: float) -> Row:
    return Row("Reverse-distillation", "Wide ResNet-50-2", "reverse_distillation", "wide_resnet50_2", average, values)


def _efficient_ad(average: float, *values: float) -> Row:
    return Row("EfficientAd", "ResNet-18", "efficient_ad", None, average, values)


# fmt: off
TABLES: Mapping[str, tuple[Row, ...]] = MappingProxyType({
    "1": (
        _patchcore(.839, .936, .649, 1.0, .993, .989, 1.0, .899, .636, .917, .888, .720, .538, .787, .718, .915),
        _cflow(.842, .968, .538, .946, .965, .990, .991, .777, .736, .964, .796, .610, .796, .711, .737, .921),
        _distillation(.831, .994, .797, 1.0, .994, .996, .980, .650, .674, .999, .627, .812, .540, .920, .704, .780),
        _efficient_ad(.713, .995, .743, .548, .974, .814, .951, .619, .517, .759, .621, .732, .743, .634, .585, .528),
    ),
    "5": (
        _patchcore(.914, .964, .723, 1.0, .998, .995, 1.0, .956, .930, .993, .991, .889, .666, .695, .989, .924),
        _cflow(.902, .958, .777, .991, .983, .979, .999, .925, .776, .995, .921, .880, .617, .939, .865, .925),
        _efficient_ad(.842, .994, .851, .999, .980, .998, .986, .846, .747, 1.0, .799, .798, .636, .942, .840, .737),
        _distillation(.781, .978, .979, .663, .962, .907, .980, .759, .552, .873, .679, .751, .754, .692, .608, .576),
    ),
    "full": (
        _patchcore(.978, .967, .943, 1.0, .999, .997, 1.0, .988, .972, 1.0, 1.0, .925, .961, .957, 1.0, .957),
        _cflow(.937, .952, .841, .986, .982, .988, 1.0, .957, .916, .999, .992, .912, .749, .916, .912, .950),
        _efficient_ad(.933, .995, .995, 1.0, .996, .997, .987, .939, .944, 1.0, .751, .954, .957, .966, .971, .921),
        _distillation(.955, .983, .994, .973, .999, .956, 1.0, .947, .807, .946, .970, .975, .951, .893, .825, .944),
    ),
})
# fmt: on
"""Shots → the rows of the table "One-shot", "Few-shot" or "Full-shot", in their order."""

NAMES = MappingProxyType({"1": "One-shot", "5": "Few-shot", "full": "Full-shot"})

WRONG_AVERAGES = MappingProxyType(
    {
        ("1", "CFlow"): 0.830,
        ("1", "EfficientAd"): 0.718,
        ("5", "EfficientAd"): 0.877,
        ("full", "EfficientAd"): 0.958,
        ("full", "Reverse-distillation"): 0.944,
    }
)
"""Shots and label → the true average of the row, where the printed one is another."""

EXCHANGED = ("EfficientAd", "Reverse-distillation")
EXCHANGED_SHOTS = ("5", "full")
"""The two rows whose labels are probably exchanged, in two of the tables. With one shot, Reverse Distillation reaches
1.000 on leather and .999 on hazelnut, EfficientAD .548 and .759. With five shots and with all, it is the row labelled
EfficientAd that reaches at least .999 on both, and the other one that has .663 and .873, and .973 and .946."""


def _references() -> Iterator[Reference]:
    for shots, rows in TABLES.items():
        for row in rows:
            exchanged = shots in EXCHANGED_SHOTS and row.label in EXCHANGED
            for category, value in row.by_category.items():
                yield Reference(
                    f'{REPOSITORY}, table "{NAMES[shots]}", row {row.label} ({row.network})',
                    "image_auroc",
                    value,
                    {
                        "dataset": "mvtec_ad",
                        "category": category,
                        "arm": "generated",
                        "shots": shots,
                        "detector": row.family,
                    },
                    f"{row.label} on {row.network}, CLIP and a published VQGAN",
                    measured_with={**GENERATED_WITH, **({"backbone": row.backbone} if row.backbone else {})},
                    doubt="the labels EfficientAd and Reverse-distillation seem exchanged" if exchanged else "",
                )


README = tuple(_references())
"""Every value of the three tables, under the label that is printed; the averages are left to whoever compares."""
