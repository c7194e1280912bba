"""Declaring a study: expansion, round trip, and every mistake as one line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from components.errors import BadInput
from runner.settings import load_study, study_names, to_yaml, validate
from runner.study import Point, Study


def test_every_declared_study_is_valid_and_survives_yaml(tmp_path: Path) -> None:
    names = study_names()
    assert {"demo", "demo_sweep", "oneshot_lite0"} <= set(names)
    for name, declare in names.items():
        path = tmp_path / f"{name}.yaml"
        path.write_text(to_yaml(declare()))
        assert load_study(str(path)) == load_study(name)


def test_cells_are_the_product_without_repetition(tiny_study: Callable[..., Study]) -> None:
    study = tiny_study(support_seeds=[0, 1], vq_weight=[0.5, 1.0], copies=[2, 3], iterations=[2, 4])
    cells = study.cells(("coin", "brick"))
    by_arm = {arm: [c for c in cells if c.arm == arm] for arm in study.arms}
    assert len(study.points) == 8
    assert len(by_arm["original"]) == 2 * 2
    assert len(by_arm["augmented"]) == 2 * 2 * 2
    assert len(by_arm["generated"]) == 2 * 2 * 8
    assert len(set(cells)) == len(cells)


def test_a_point_has_its_own_cells_and_their_baselines(tiny_study: Callable[..., Study]) -> None:
    study = tiny_study(vq_weight=[0.5, 1.0], copies=[2, 3])
    cells = [cell for cell in study.cells(("coin",)) if cell.serves(Point(0.5, 3, 4))]
    assert [(c.arm, c.copies) for c in cells] == [("original", 0), ("augmented", 3), ("generated", 3)]


def test_the_control_takes_the_strongest_policy_of_any_generated_arm(tiny_study: Callable[..., Study]) -> None:
    assert tiny_study().control_policy == "mild"
    assert tiny_study(augmentation="strong").control_policy == "strong"
    assert tiny_study(post_augment=["none", "strong"]).control_policy == "strong"


def test_the_policies_that_the_paper_cites_are_the_strongest(tiny_study: Callable[..., Study]) -> None:
    assert tiny_study(augmentation="randaugment", post_augment=["none", "strong"]).control_policy == "randaugment"
    assert tiny_study(category_augmentation={"coin": "autoaugment"}).control_policy == "autoaugment"


def test_a_full_support_has_no_seed_of_its_own(tiny_study: Callable[..., Study]) -> None:
    assert tiny_study(shots="full", support_seeds=[3, 4]).seeds("coin") == ((None, 3), (None, 4))


def test_settings_reach_nested_fields_and_single_values_become_lists() -> None:
    study = load_study("demo", ["copies=7", "generator.resolution=64", "categories=[coin]", "vq_weight=[0, 2]"])
    assert (study.copies, study.generator.resolution) == ((7,), 64)
    assert (study.categories, study.vq_weight) == (("coin",), (0.0, 2.0))


MISTAKES = {
    "copies=-1": r"copies\.0: .*greater than or equal to 1 \(given: -1\)",
    "copies=0": r"copies\.0: .*greater than or equal to 1",
    "copies=[5,5]": "copies: .*twice",
    "copies=[]": "copies: .*at least 1",
    "iterations=0": r"iterations\.0: .*greater than or equal to 1",
    "iterations=55": "score_every = 10 must divide iterations = 55",
    "vq_weight=.nan": r"vq_weight\.0: .*finite",
    "vq_weight=-1": r"vq_weight\.0: .*greater than or equal to 0",
    "vq_weight=heavy": r"vq_weight\.0: .*number .*'heavy'",
    "copys=5": "'copys' is no field of a study; did you mean 'copies'",
    "generator.resolutoin=64": "'resolutoin' is no field of generator; did you mean 'resolution'",
    "generator.resolution=102": "multiple of the network's f = 8",
    "generator.variance=unit": "set the study's own field variance",
    "arms=[originals]": r"arms\.0: 'originals' is no arm; .*'original', 'augmented', 'generated'.* 'external:<folder>'",
    "arms=['external:']": r"arms\.0: 'external:' is no arm",
    "arms=['external:a/web', 'external:b/web']": "two folders are called external:web; rename one",
    "arms=['external:s3://bucket/web']": "give a folder of the machine",
    "dataset.name=mvtec": r"dataset\.name: .*'demo', 'mvtec_ad', 'mvtec_loco', 'btad' or 'folder'",
    "detectors=[{image_size: 64}, {image_size: 128}]": "two are called patchcore-lite0",
    "detectors=[{name: cflow, steps: 2, epochs: 2}]": "give steps or epochs, not both",
    "detectors=[{crop: 300}]": "crop 300 is larger than the image_size 256",
    "detectors=[{coreset: 0.1}]": "coreset: no such field",
    "shots=-2": "shots",
    "encoder.name=x": "'encoder' has no fields",
    "name=a/b": "name: ",
    "copies": "write it as key=value",
    "copies=[": "not YAML",
}


@pytest.mark.parametrize("setting", MISTAKES, ids=str)
def test_a_mistake_is_one_line_with_the_field_and_what_is_allowed(setting: str) -> None:
    with pytest.raises(BadInput, match=MISTAKES[setting]) as caught:
        load_study("demo", [setting])
    assert "\n" not in str(caught.value)


def test_unknown_studies_and_files(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="did you mean 'demo_sweep'"):
        load_study("demo_sweeep")
    with pytest.raises(BadInput, match="cannot be read"):
        load_study(str(tmp_path / "nowhere.yaml"))
    (tmp_path / "list.yaml").write_text("- a\n- b\n")
    with pytest.raises(BadInput, match="holds no mapping"):
        load_study(str(tmp_path / "list.yaml"))


def test_the_paper_preset_fills_in_what_a_study_does_not_give() -> None:
    study = load_study("demo", ["preset=paper"])
    assert (study.preset, study.generator.init, study.generator.resolution) == ("paper", "taming:imagenet_1024", 256)
    assert study.encoder.startswith("open_clip:")
    assert [detector.preset for detector in study.detectors] == ["paper"]
    # What the paper does not decide stays as declared.
    assert study.dataset == load_study("demo").dataset
    assert validate({"name": "mine", "preset": "paper", "encoder": "conse-lite0-minilm"}, "mine").encoder == (
        "conse-lite0-minilm"
    )


def test_a_setting_wins_over_the_preset_in_any_order(tmp_path: Path) -> None:
    study = load_study("demo", ["generator.resolution=128", "preset=paper"])
    assert study.generator.resolution == 128
    assert load_study("demo", ["preset=paper"]).generator.resolution == 256
    (tmp_path / "study.yaml").write_text(to_yaml(study))
    assert load_study(str(tmp_path / "study.yaml")) == study


def test_a_preset_fills_in_what_a_study_leaves_open_of_its_generator(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("{name: mine, preset: paper, generator: {augmentations: 3}}")
    for settings in ([], ["generator.accumulation=2"]):
        generator = load_study(str(tmp_path / "mine.yaml"), settings).generator
        assert (generator.augmentations, generator.resolution, generator.perceptual) == (3, 256, "lpips")
