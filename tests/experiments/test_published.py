"""The published numbers: complete, each once, with the slips that they are known to have."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, replace
from typing import Any

import pytest

from goodshot.components.data.datasets import dataset_of
from goodshot.components.metrics.declared import METRICS
from goodshot.experiments.published import field, tgi, tgi_readme
from goodshot.experiments.published.tgi_readme import TABLES, WRONG_AVERAGES
from goodshot.runner.study.experiment import Reference

PAPER = (
    *(tgi.TABLE_1, tgi.TABLE_2, tgi.TABLE_3, tgi.FIGURE_2, tgi.FIGURE_5, tgi.FIGURE_6, tgi.FIGURE_7, tgi.FIGURE_8),
    tgi_readme.README,
)
FIELD = tuple(one for dataset, shots in field.BEST for one in field.field(dataset, shots))
EVERY = tuple(one for part in PAPER for one in part) + FIELD


def test_the_readmes_tables_are_whole() -> None:
    assert set(tgi_readme.CATEGORIES) == set(dataset_of("mvtec_ad").categories)
    assert {shots: [row.label for row in rows] for shots, rows in TABLES.items()} == {
        "1": ["PatchCore", "CFlow", "Reverse-distillation", "EfficientAd"],
        "5": ["PatchCore", "CFlow", "EfficientAd", "Reverse-distillation"],
        "full": ["PatchCore", "CFlow", "EfficientAd", "Reverse-distillation"],
    }
    assert all(
        len(row.values) == 15 and all(0.5 < v <= 1 for v in row.values) for rows in TABLES.values() for row in rows
    )
    assert len(tgi_readme.README) == 3 * 4 * 15


def test_which_printed_averages_are_wrong_and_what_they_should_be() -> None:
    found = {(shots, row.label): row for shots, rows in TABLES.items() for row in rows}
    wrong = {key: round(row.true_average, 3) for key, row in found.items() if round(row.true_average, 3) != row.average}
    assert wrong == dict(WRONG_AVERAGES)
    printed = {key: found[key].average for key in wrong}
    assert printed == {
        ("1", "CFlow"): 0.842,
        ("1", "EfficientAd"): 0.713,
        ("5", "EfficientAd"): 0.842,
        ("full", "EfficientAd"): 0.933,
        ("full", "Reverse-distillation"): 0.955,
    }


def test_rows_whose_labels_seem_exchanged_carry_a_doubt() -> None:
    doubted = {(one.where["shots"], one.where["detector"]) for one in tgi_readme.README if one.doubt}
    both = ("efficient_ad", "reverse_distillation")
    assert doubted == {(shots, detector) for shots in ("5", "full") for detector in both}

    def value(shots: str, label: str, category: str) -> float:
        (row,) = (row for row in TABLES[shots] if row.label == label)
        return row.by_category[category]

    # With one shot the labels are right: EfficientAD fails on leather and hazelnut, Reverse Distillation does not.
    for category in ("leather", "hazelnut"):
        assert value("1", "Reverse-distillation", category) - value("1", "EfficientAd", category) > 0.2
        for shots in ("5", "full"):
            assert value(shots, "EfficientAd", category) > value(shots, "Reverse-distillation", category)


def test_printed_gains_are_the_difference_of_printed_values_but_for_one_slip() -> None:
    values = {(one.source, one.metric): one.value for one in tgi.TABLE_3 if one.over is None}
    baseline = {metric: values["TGI, CVPR 2024, Table 3, Baseline", metric] for metric in tgi.METRICS}
    gains = [one for one in tgi.TABLE_3 if one.over == "original"]
    assert len(gains) == 2 * 10
    assert {one.unit for one in gains} == {"points"}
    off = [one for one in gains if abs(values[one.source, one.metric] - baseline[one.metric] - one.value) > 1e-9]
    assert [(one.source, one.metric) for one in off] == [("TGI, CVPR 2024, Table 3, w/ Variance (ours)", "image_auroc")]
    assert [one for one in gains if one.doubt] == off


def test_every_number_has_a_source_a_scale_and_rows_of_its_own() -> None:
    assert all(one.source and one.where for one in EVERY)
    in_unit = {"image_auroc", "pixel_auroc", "ssim", "prompt_cosine", "prompt_correlation"}
    assert all(-1 < one.value <= 1 for one in EVERY if one.metric in in_unit)
    only_printed = {one.metric for one in EVERY} - {metric.name for metric in METRICS}
    assert only_printed <= {"prompt_cosine", "prompt_correlation"}
    assert (
        max(
            Counter(
                (one.source, one.metric, one.over, str(sorted(one.where.items())), one.subset) for one in EVERY
            ).values()
        )
        == 1
    )
    assert all(one.kind == "field" and not one.measured_with for one in FIELD)
    assert all(one.over is None or one.unit for one in EVERY)


def test_the_caption_is_the_papers() -> None:
    assert tgi.CAPTION.startswith("This image displays a single hazelnut with a textured, fibrous cap on top.")
    assert len(tgi.CAPTION.split()) == 54


ROW: dict[str, Any] = {
    "dataset": "mvtec_ad",
    "category": "pill",
    "arm": "generated",
    "shots": "1",
    "detector": "patchcore-lite0",
    "encoder": "conse-lite0-minilm",
    "init": "taming:imagenet_1024",
    "perceptual": "lite0",
    "backbone": "efficientnet_lite0",
}


def test_a_row_belongs_to_a_number_by_its_columns_and_its_detectors_family() -> None:
    (one,) = (one for one in tgi_readme.README if one.matches(ROW))
    assert (one.value, one.is_of_one_row) == (0.720, True)
    for column, other in {"detector": "cflow-lite0", "shots": "5", "arm": "original", "category": "screw"}.items():
        assert not one.matches({**ROW, column: other})
    assert one.matches({**ROW, "detector": "patchcore"})
    assert not one.matches({**ROW, "detector": "patchcores"})
    assert one.substitutes(ROW) == {
        "backbone": ("resnet18", "efficientnet_lite0"),
        "encoder": ("open_clip:ViT-B-32:openai", "conse-lite0-minilm"),
        "perceptual": ("lpips", "lite0"),
    }
    # An arm without a generator has no encoder: that is no substitute.
    assert "encoder" not in one.substitutes({**ROW, "encoder": None})
    assert not one.substitutes({**ROW, **one.measured_with})


def test_a_gain_names_both_of_its_rows() -> None:
    (one,) = (one for one in tgi.FIGURE_5 if one.where.get("category") == "cable")
    assert one.baseline_where == {
        "dataset": "mvtec_ad",
        "category": "cable",
        "shots": "1",
        "detector": "patchcore",
        "arm": "original",
    }
    assert not one.is_of_one_row
    assert not tgi.FIGURE_7[0].is_of_one_row
    assert tgi.TABLE_1[0].is_of_one_row


@pytest.mark.parametrize("one", [tgi.TABLE_3[1], tgi.FIGURE_7[0], FIELD[0]], ids=lambda one: one.source)
def test_a_reference_is_read_back_as_it_was_written(one: Reference) -> None:
    import json

    from goodshot.runner.results.record import _reference

    assert _reference(json.loads(json.dumps(asdict(one)))) == one
    # As an earlier version wrote it, without the fields that were added later.
    old = ("source", "metric", "value", "where", "setting")
    earlier = {name: value for name, value in asdict(one).items() if name in old}
    assert _reference(earlier) == replace(Reference("", "", 0.0, {}), **earlier)
