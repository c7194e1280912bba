"""Declaring a study: expansion, round trip, and every mistake as one line."""

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from goodshot.components.detectors.config import DetectorConfig
from goodshot.components.errors import BadInput
from goodshot.runner.named import load_study, study_names
from goodshot.runner.plan.planning import cells_by_point
from goodshot.runner.run.execute import Options, plan_studies
from goodshot.runner.study.settings import to_yaml, validate
from goodshot.runner.study.study import Point, Study
from tests.runner.test_bad_input import MODELS


def test_every_declared_study_is_valid_and_survives_yaml(tmp_path: Path) -> None:
    names = study_names()
    assert {"demo", "demo_sweep", "oneshot_lite0"} <= set(names)
    for name, study in names.items():
        path = tmp_path / f"{name}.yaml"
        path.write_text(to_yaml(study))
        assert load_study(str(path)) == load_study(name)


def test_cells_are_the_product_without_repetition(tiny_study: Callable[..., Study]) -> None:
    study = tiny_study(support_seeds=[0, 1], vq_weight=[0.5, 1.0], copies=[2, 3], iterations=[2, 4])
    cells = study.expanded(("coin", "brick"))
    by_arm = {arm: [c for c in cells if c.arm.name == arm] for arm in study.arms}
    assert len(study.points) == 8
    assert len(by_arm["original"]) == 2 * 2
    assert len(by_arm["augmented"]) == 2 * 2 * 2
    assert len(by_arm["generated"]) == 2 * 2 * 8
    assert len(set(cells)) == len(cells)


def test_a_point_has_its_own_cells_and_their_baselines(tiny_study: Callable[..., Study]) -> None:
    study = tiny_study(vq_weight=[0.5, 1.0], copies=[2, 3])
    named = {cell: f"{cell.arm.label} {cell.copies}" for cell in study.expanded(("coin",))}
    assert cells_by_point(named, study.points)[Point(0.5, 3, 4)] == ("original 0", "augmented 3", "generated 3")


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


# What no single field is to blame for, by the validator that refuses it: what was set, and the line.
RANDOM = "search.algorithm=random"
COMBINATIONS: dict[str, list[tuple[list[str], str]]] = {
    "Range._is_a_range": [
        ([RANDOM, "search.space.copies={low: 5, high: 5}"], "search.space.copies: low = 5 must be below high = 5"),
        ([RANDOM, "search.space.vq_weight={low: 0, high: 1, log: true}"], "low = 0 must be above 0 for log: true"),
        ([RANDOM, "search.space.copies={low: 1, high: 9, step: 4, log: true}"], "give step or log: true, not both"),
        ([RANDOM, "search.space.copies={low: 1, high: 9, step: 5}"], "step = 5 must divide high − low = 8"),
    ],
    "Study._every_kind_has_cells": [
        (
            ["cells=images", "arms=original"],
            "cells: images measures nothing of the arms original; add an arm, or leave",
        ),
        (["cells=both", "arms=crop_paste"], "cells: both needs an arm of good images, such as original, .*; add one"),
    ],
    "Study._workers_can_share_a_training": [
        (["resources.generator_workers=2"], "resources.generator_workers: 2 workers share a step's originals"),
        (
            ["resources.generator_workers=2", "shots=5", "generator.discriminator.start=10"],
            "resources.generator_workers: with a discriminator several workers",
        ),
    ],
    "Study._every_point_is_possible": [
        (["search.space.copies={low: 5, high: 20}"], "search.space.copies: a grid needs a list of values"),
        (["search.space.generator.commitmet=[1]"], "search.space.generator.commitmet: no such field; did you mean"),
        (["search.space.detectors.3.crop=[64]", "objective=planted"], "search.space.detectors.3.crop: no such field"),
        (["search.space.variance=[x]"], "search.space.variance: must be .*'estimated'.*'x'"),
        (["search.space.copies=[0]"], r"search.space.copies: must be a whole number of at least 1 \(given: 0\)"),
        (["search.space.copies=[true, 2]"], r"search.space.copies: must be a .*whole number of at least 1.*True"),
        (["search.space.dataset.name=[btad]"], "search.space.dataset.name: cannot be searched; there are: "),
        (["search.space.detectors.0.image_size=[64]"], "similarity does not depend on it"),
        ([RANDOM, "search.space.iterations={low: 20, high: 40}"], "search.space.iterations: score_every = 10 must"),
        (["search.scheduler=asha"], "search.scheduler: asha compares points at growing L; give several iterations"),
        (
            ["search.scheduler=asha", "iterations=[10, 20]", "search.space.iterations=[10]"],
            "search.space.iterations: asha goes through the study's own iterations",
        ),
    ],
    "Study._every_l_is_scored": [(["iterations=[50, 55]"], "score_every = 10 must divide iterations = 55")],
    "Study._detectors_have_names_of_their_own": [
        (["detectors=[{image_size: 64}, {image_size: 128}]"], "detectors: two are called patchcore-lite0; .* an alias"),
        (["detectors=[{name: padim, alias: a}, {alias: a}]"], "detectors: two are called a;"),
    ],
    "Study._arms_have_names_of_their_own": [
        (["arms=['external:a/web', 'external:b/web']"], "arms: two folders are called external:web; rename one"),
    ],
    "Study._test_labels_choose_nothing_unseen": [
        (["objective=aupro"], "objective: aupro uses test labels; choose similarity or planted, or give --oracle"),
    ],
    "Study._variance_is_declared_above": [
        (["generator.variance=unit"], "generator.variance: set the study's own field variance"),
        (["variance=[unit, predicted]"], r"variance = predicted reads .*; set generator\.init=embedded"),
    ],
    "VQGANConfig._groups_divide_channels": [
        (["generator.vqgan.channels=12"], r"generator\.vqgan: channels = 12 must be a multiple of norm_groups = 8"),
    ],
    "GeneratorConfig._network_by_name": [
        (["generator.vqgan=f8"], r"generator\.vqgan: must be small, embedded, f16, f16_16384, or .* \(given: 'f8'\)"),
    ],
    "GeneratorConfig._published_weights_are_f16": [
        (["generator.init=taming:imagenet_1024"], r"generator: init = taming:.* another network; .*\.vqgan=f16$"),
    ],
    "GeneratorConfig._predicted_needs_a_start": [
        (["generator.variance=predicted"], r"generator: variance = predicted reads .*; set generator\.init=embedded"),
    ],
    "GeneratorConfig._embedded_is_its_own_network": [
        (["generator.init=embedded"], r"generator: init = embedded is another network; set generator\.vqgan=embedded"),
    ],
    "GeneratorConfig._lpips_comes_with_a_checkpoint": [
        (["generator.perceptual=lpips"], "generator: perceptual = lpips lies in published checkpoints, .*; use lite0"),
    ],
    "GeneratorConfig._resolution_fits_network": [
        (["generator.resolution=102"], "generator: resolution = 102 must be a multiple of the network's f = 8"),
        (["generator.vqgan=f16", "generator.resolution=72"], "generator: resolution = 72 must be .*'s f = 16"),
    ],
    "GeneratorConfig._parts_hold_an_original": [
        (["generator.accumulation=5"], "generator: accumulation = 5 must not exceed originals_per_step = 4"),
    ],
    "Study._a_caption_has_a_text": [
        (
            ["prompt_kind=[best, caption]"],
            r"prompt_kind: caption is a text of the study's own; give it in prompt\.caption",
        ),
        (
            ["search.space.prompt_kind=[best, caption]"],
            r"search\.space\.prompt_kind: caption .* give it in prompt\.caption",
        ),
    ],
    "PromptConfig._names_both": [
        (["prompt.template='a {word}'"], r"prompt\.template: .* must hold \{object\} and \{word\} once each"),
        (["prompt.template='{object} {word} {0}'"], r"prompt\.template: .* no other braces"),
    ],
    "PromptConfig._in_one_spelling": [
        (["prompt.senses=[nut]"], r"prompt\.senses: sense 'nut' must read <noun>\.n\.<number>"),
    ],
    "DetectorConfig._filled_by_the_preset": [
        (["detectors=[{name: patchcor}]"], r"detectors\.0: .* no such model; did you mean patchcore\?"),
        (["detectors=[{name: padim, preset: paper}]"], r"detectors\.0: .* padim: has no preset paper; those"),
        (["detectors.0.name=cflov"], r"detectors\.0: detector 'cflov': .* did you mean cflow\?"),
    ],
    "DetectorConfig._fields_of_the_model": [
        (["detectors.0.crop=300"], r"detectors\.0: crop 300 is larger than the image_size 128"),
        (["detectors.0.backbone=null"], r"detectors\.0: detector patchcore: needs a backbone"),
        (["detectors.0.layers=[]"], r"detectors\.0: layers \[\] must be some of \['blocks\.0', .*, in this order"),
        (["detectors.0.layers=[blocks.4, blocks.2]"], r"detectors\.0: layers .* in this order"),
        (["detectors.0.steps=5"], r"detectors\.0: .* steps is not for it: patchcore trains nothing"),
        (["detectors.0.args={a: 1}"], r"detectors\.0: .* args is not for it: patchcore .* takes no other arguments"),
        (["detectors=[{name: padim, coreset_ratio: 0.1}]"], r"coreset_ratio is not for it: padim .* arguments in args"),
        (["detectors=[{name: padim, args: {backbone: x}}]"], "padim: backbone is a field of the detector, not one of"),
        (["detectors=[{name: padim, args: {n_featurs: 5}}]"], "no argument 'n_featurs'; did you mean n_features"),
        (["detectors=[{name: efficient_ad, backbone: null, layers: [a]}]"], "efficient_ad: layers .* need a backbone"),
        (["detectors=[{name: cflow, steps: 2, epochs: 2}]"], "cflow: give steps or epochs, not both"),
        (["detectors=[{name: cflow, epoch_images: 21}]"], "cflow: epoch_images says how long an epoch is; give epochs"),
        (["detectors=[{epoch_images: 21}]"], "patchcore: epoch_images is not for it: patchcore trains nothing"),
        (["detectors=[{name: efficient_ad, batch_size: 2}]"], "efficient_ad: .* one image at a time; set"),
        (["detectors=[{name: efficient_ad, backbone: resnet18}]"], "efficient_ad: its teacher is its own"),
        (["detectors=[{name: draem, backbone: resnet18}]"], "draem: has its own network; .* is not for it"),
        (["detectors=[{name: reverse_distillation, layers: [blocks.2]}]"], r"reads blocks\.1, blocks\.2 and blocks\.4"),
        (["detectors=[{name: winclip, image_size: 256}]"], "winclip: its network reads images of 240 px and no others"),
        (["detectors=[{name: winclip, args: {few_shot_source: x}}]"], "winclip: .* no few_shot_source"),
        (["detectors=[{name: winclip, args: {k_shot: -1}}]"], "winclip: k_shot is a number of good images.*got -1"),
    ],
    "each value once": [
        (["copies=[5,5]"], "copies: a value is given twice; give each once"),
        (["detectors=[{}, {}]"], "detectors: a value is given twice"),
        (["support={coin: [a, a]}"], r"support\.coin: a value is given twice"),
    ],
    "Study._every_arm_is_measured": [
        (["arms=[original, fusion]", "cells=[detection]"], r"cells: fusion adds images that no kind .* \(detection\)"),
    ],
    "SynthesisConfig._the_arm_chooses_the_modules": [
        (
            ["synthesis.fusion.mif=false"],
            r"fusion: text, mif and ddf are chosen by the arm, fusion:text\+ddf instead of",
        ),
    ],
    "PlacingConfig._scale_is_a_range": [
        (["synthesis.placing.scale=[1.5, 0.5]"], r"scale = 1\.5 to 0\.5; give two factors, 0 < smallest <= largest"),
    ],
    "SynthesisConfig._one_source_of_captions": [
        (["synthesis.captions=a", "synthesis.caption=b"], "synthesis: caption = one sentence .*; give one of them"),
    ],
    "FusionConfig._published_bases_are_frozen": [
        (["synthesis.fusion.base=ldm_text2im"], "base = ldm_text2im is frozen in training; set trains=embeddings"),
    ],
    "FusionConfig._the_window_holds_the_mask": [
        (["synthesis.fusion.window=0.5"], r"window = 0\.5 is smaller than the mask; choose 1 or more, or 0"),
    ],
    "FusionConfig._sampling_has_as_many_steps_as_there_are": [
        (
            ["synthesis.fusion.sampling.steps=20", "synthesis.fusion.small.schedule.timesteps=10"],
            r"sampling\.steps = 20 exceeds the 10 of small\.schedule",
        ),
    ],
    "FusionConfig._resolution_fits_the_small_base": [
        (["synthesis.fusion.resolution=50"], "resolution = 50 must be a multiple of 8"),
    ],
    "BaseConfig._sizes_fit": [
        (["synthesis.fusion.small.channels=[12, 20]"], "channels = 12 must be a multiple of norm_groups = 8"),
        (["synthesis.fusion.small.attention_levels=9"], "attention_levels = 9, but channels has 3 levels"),
    ],
    "MaskEncoderConfig._sides_stay_whole": [
        (
            ["synthesis.fusion.masks.channels=[1, 2, 3, 4, 5, 6]"],
            "channels has 6 entries, but 112 pixels can be halved",
        ),
    ],
    "SegmenterConfig._has_a_loss": [
        (["synthesis.segmenter={focal: 0, dice: 0}"], "focal and dice must not both be 0"),
    ],
    "SegmenterConfig._resolution_can_be_halved": [
        (["synthesis.segmenter.resolution=70"], r"resolution = 70 must be a multiple of 2\^levels = 16"),
    ],
    "SegmenterConfig._window_fits": [(["synthesis.segmenter.window=999"], "window = 999 must be at most 256")],
    "known_arm": [
        (["arms=[originals]"], r"arms\.0: 'originals' is no arm; .*'original', 'augmented', .* 'external:<folder>'"),
        (["arms=['external:']"], r"arms\.0: 'external:' is no arm"),
        (["arms=['external:s3://bucket/web']"], r"arms\.0: .*: give a folder of the machine"),
    ],
}
WITHOUT_REFUSAL = {"Study._preset_fills_in", "PromptConfig._in_one_order", "PromptConfig._by_its_name"}


@pytest.mark.parametrize(("settings", "line"), itertools.chain(*COMBINATIONS.values()), ids=str)
def test_a_combination_that_cannot_be_is_one_line(settings: list[str], line: str) -> None:
    with pytest.raises(BadInput, match=rf"^study demo: .*{line}") as caught:
        load_study("demo", settings)
    assert len(str(caught.value).splitlines()) == 1


def test_every_validator_has_a_combination() -> None:
    found = set()
    for _, model in MODELS:
        held = model.__pydantic_decorators__
        found |= {f"{model.__name__}.{name}" for name in [*held.model_validators, *held.field_validators]}
    assert found - WITHOUT_REFUSAL <= COMBINATIONS.keys()


# What only the photographs can tell: the fields, and the line.
WITH_THE_DATA: dict[str, tuple[dict[str, Any], str]] = {
    "a category of another dataset": (
        {"categories": ["carpet"]},
        "carpet: no such category; there are: brick, coin, gravel",
    ),
    "originals of a category that is not there": (
        {"support": {"brick": ["a"]}},
        "support: brick is no category .*: coin",
    ),
    "an original that is not there": (
        {"support": {"coin": ["train/good/03.png"]}},
        r"no train image .*/03\.png among .* mean train/good/",
    ),
    "views of a category that is not there": (
        {"category_augmentation": {"pear": "strong"}},
        "category_augmentation: pear is no category of the study; there are: coin",
    ),
    "a name for a category that is not there": (
        {"objects": {"pear": "fruit"}},
        "objects: pear is no category of the study; there are: coin",
    ),
    "more shots than photographs": ({"shots": 500}, r"shots is 500, and there are \d+ train images; use 1 to \d+ or"),
    "an encoder that is not known": ({"encoder": "clip"}, "unknown encoder 'clip'; allowed: conse-lite0-minilm, "),
    "an object that is no word": ({"objects": {"coin": "coinn"}}, "coinn.*did you mean|coinn.*nearest"),
    "an object without a name": ({"objects": {"coin": " "}}, "'coin' has an empty object name; give it a noun"),
    "a sense of another word": ({"prompt": {"senses": ["nut.n.01"]}}, r"prompt\.senses: nut\.n\.01 .* \(coin\); name"),
    "no folder of images": ({"arms": ["external:/nowhere"]}, "/nowhere: no such folder; put the images .* there"),
}


@pytest.mark.parametrize("name", WITH_THE_DATA)
def test_what_the_photographs_do_not_hold_is_one_line(
    name: str, tiny_study: Callable[..., Study], tmp_path: Path
) -> None:
    fields, line = WITH_THE_DATA[name]
    with pytest.raises(BadInput, match=line) as caught:
        plan_studies([tiny_study(**fields)], Options(str(tmp_path / "out")))
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "out").exists()


SETTINGS = {
    "copies": "write it as key=value",
    "=5": "write it as key=value",
    "copies=[": "not YAML",
    "title=2026-13-01": "not YAML",
    "copys=5": "'copys' is no field of a study; did you mean 'copies'?",
    "encoder.name=x": "encoder is 'conse-lite0-minilm', which has no fields of its own; it can be text",
    "seed.x=3": "'seed' has no fields of its own; it is a whole number",
    "detectors.image_size=64": r"detectors is a list; name an entry by its number: detectors\.0 is the first",
    "detectors.-1.image_size=64": "detectors is a list; name an entry by its number",
    "detectors.1.image_size=64": "detectors has no entry 1; it has 1, counted from 0",
    "variation_sources.0.name=demo": "variation_sources has no entry 0; it has 0",
    "copies.7=3": "copies has no entry 7; it has 1",
    "detectors.0.imagesize=64": r"'imagesize' is no field of detectors\.0; did you mean 'image_size'\?",
    "copies.0.x=3": r"copies\.0 is 10, which has no fields of its own",
}


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_a_setting_that_leads_nowhere_is_one_line(setting: str) -> None:
    with pytest.raises(BadInput, match=f"^--set {re.escape(setting)}: .*{SETTINGS[setting]}") as caught:
        load_study("demo", [setting])
    assert len(str(caught.value).splitlines()) == 1


def test_a_setting_reaches_an_entry_of_a_list(tmp_path: Path) -> None:
    study = load_study("demo", ["detectors.0.image_size=64", "copies.0=3", "generator.betas.1=0.99"])
    assert (study.detectors[0].image_size, study.copies, study.generator.betas) == (64, (3,), (0.5, 0.99))
    path = tmp_path / "mine.yaml"
    for text in ("{name: mine}", "{name: mine, detectors: {coreset_ratio: 1.0}}"):
        path.write_text(text)
        assert load_study(str(path), ["detectors.0.image_size=64"]).detectors[0].image_size == 64


def test_a_detectors_name_and_preset_replace_what_they_decide_in_any_order() -> None:
    cflow = DetectorConfig.model_validate({"name": "cflow", "image_size": 64})
    assert load_study("demo", ["detectors.0.image_size=64", "detectors.0.name=cflow"]).detectors == (cflow,)
    paper = ["detectors.0.preset=paper", "detectors=[{name: cflow, steps: 3}]"]
    assert load_study("demo", paper).detectors == (DetectorConfig(name="cflow", preset="paper"),)


def test_unknown_studies_and_files(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="did you mean 'demo_sweep'"):
        load_study("demo_sweeep")
    with pytest.raises(BadInput, match="cannot be read"):
        load_study(str(tmp_path / "nowhere.yaml"))
    for text in (b"name: [", b"name: \xff", b"title: 2026-13-01"):
        (tmp_path / "broken.yaml").write_bytes(text)
        with pytest.raises(BadInput, match=r"broken\.yaml: not YAML"):
            load_study(str(tmp_path / "broken.yaml"))
    (tmp_path / "list.yaml").write_text("- a\n- b\n")
    with pytest.raises(BadInput, match="holds no mapping"):
        load_study(str(tmp_path / "list.yaml"))


def test_a_changed_preset_leaves_what_a_study_compares() -> None:
    study = load_study("table3_variance", ["preset=default"])
    assert study.variance == ("none", "estimated", "unit")
    assert (study.detail, study.encoder) == (("residual_256",), "conse-lite0-minilm")


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
