"""The plan: what is shared, what identifies it, and that identity ignores where and how it runs."""

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from goodshot.components.errors import BadInput, MissingWeights
from goodshot.runner.cells.detection import DetectionStage
from goodshot.runner.named import load_study
from goodshot.runner.plan.plan import Plan, planned_steps, unshared_steps
from goodshot.runner.run.execute import declare, plan_studies, print_notes
from goodshot.runner.run.options import Options
from goodshot.runner.stages.image_set import ImageSetStage
from goodshot.runner.stages.prompt import PromptStage
from goodshot.runner.stages.training import TrainingStage
from goodshot.runner.study.settings import to_yaml
from goodshot.runner.study.study import Study


def plan_of(study: Study, out: Path) -> Plan:
    return plan_studies([study], Options(str(out)))


def trainings(plan: Plan) -> set[str]:
    """The keys of a plan's trainings."""
    return {stage.key for stage in plan.of(TrainingStage)}


def prompts(plan: Plan) -> set[str]:
    """The keys of a plan's prompts."""
    return {stage.key for stage in plan.of(PromptStage)}


def detections(plan: Plan) -> dict[str, DetectionStage]:
    """A plan's detections by the label of their detector."""
    return {cell.detector.label: cell for cell in plan.cells.values() if isinstance(cell, DetectionStage)}


def test_a_sweep_trains_one_generator_per_weight_and_support(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    study = tiny_study(
        support_seeds=[0, 1, 2], vq_weight=[0.1, 1.0], copies=[1, 2, 3], iterations=[2, 4], detail=["none", "residual"]
    )
    plan = plan_of(study, tmp_path)
    assert len(plan.of(TrainingStage)) == len(trainings(plan)) == 2 * 3
    assert len(plan.of(PromptStage)) == 3
    products = {
        id_: made for id_, made in plan.products(plan.cells.values()).items() if id_ not in {s.id for s in made}
    }
    assert products.keys() == {stage.id for stage in plan.of(TrainingStage)}
    assert {len(made) for made in products.values()} == {3 * 2 * 2}
    assert {plan.stages[id_].steps(made) for id_, made in products.items()} == {4 - 1}
    assert planned_steps(plan, plan.cells.values()) == 2 * 3 * 3
    assert unshared_steps(plan, plan.cells.values()) == 2 * 3 * 3 * 2 * (1 + 3)


def test_a_stage_is_planned_after_what_it_stands_on(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    plan = plan_of(tiny_study(iterations=[2, 4], arms=["original", "generated", "vqgan_clip"]), tmp_path)
    places = {id_: place for place, id_ in enumerate(plan.stages)}
    for id_, stage in plan.stages.items():
        before = {each.id for each in plan.before(stage)} | ({stage.producer} - {id_})
        assert all(places[each] < places[id_] for each in before)
        assert set(plan.closure([id_])) >= {*before, id_}
    for cell in plan.cells.values():
        assert {*cell.inputs} <= plan.stages.keys()


def test_what_changes_no_number_changes_no_identity(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    base = plan_of(tiny_study(), tmp_path)
    moved = tmp_path / "moved"
    shutil.copytree(tiny_study().dataset.root or "", moved)
    other = tiny_study(
        name="other", title="x", dataset={"name": "mvtec_ad", "root": str(moved)}, resources={"detector_cpus": 2}
    )
    assert list(plan_of(other, tmp_path).cells) == list(base.cells)


@pytest.mark.parametrize(
    "change",
    [
        {"vq_weight": [0.5]},
        {"generator": {"learning_rate": 2e-3}},
        {"variance": ["unit"]},
        {"augmentation": "strong"},
        {"prompt_kind": ["worst"]},
        {"select": ["last"]},
        {"score_every": 1},
        {"seed": 9},
        {"detail": ["residual"]},
        {"copies": [3]},
        {"iterations": [6]},
        {"objects": {"coin": "pill"}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_changes_the_generated_numbers_changes_their_identity(
    change: dict[str, object], tiny_study: Callable[..., Study], tmp_path: Path
) -> None:
    def generated(study: Study) -> set[str]:
        return {f for f, p in plan_of(study, tmp_path).cells.items() if p.cell.arm.name == "generated"}

    assert not generated(tiny_study()) & generated(tiny_study(**change))


def test_prompts_and_copies_do_not_change_the_generator(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    keys = [
        trainings(plan_of(study, tmp_path))
        for study in (
            tiny_study(),
            tiny_study(prompt_kind=["worst"], select=["last"], detail=["residual"], copies=[5], iterations=[8]),
        )
    ]
    assert keys[0] == keys[1]


def notes_on(study: Study, tmp_path: Path) -> str:
    console = Console(file=io.StringIO(), width=300)
    print_notes(declare([study], Options(str(tmp_path))), console)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_a_budget_in_epochs_that_trains_arms_for_unequal_steps_is_said(
    tiny_study: Callable[..., Study], tmp_path: Path
) -> None:
    cflow = {"name": "cflow", "epochs": 50, "batch_size": 16, "image_size": 64}
    fields: dict[str, Any] = {"copies": [10, 20], "categories": ["coin", "brick"], "arms": ["original", "augmented"]}
    said = notes_on(tiny_study(**fields, detectors=[cflow, {"image_size": 64}]), tmp_path)
    assert said == (
        "cflow-lite0: 50 epochs are 50 steps with 1 training images and 100 with 21; "
        "for equally many in every arm give the detector epoch_images: 21\n"
    )
    for equal in ({**cflow, "epoch_images": 21}, {"name": "cflow", "image_size": 64}, {**cflow, "batch_size": 32}):
        assert notes_on(tiny_study(**fields, detectors=[equal]), tmp_path) == ""
    assert notes_on(tiny_study(**fields, detectors=[cflow], cells=["images"]), tmp_path) == ""


def test_a_changed_test_image_changes_only_detection(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    before = plan_of(tiny_study(), tmp_path)
    root = tmp_path / "copy"
    shutil.copytree(tiny_study().dataset.root or "", root)
    good = sorted((root / "coin/test/good").glob("*.png"))
    shutil.copy(good[0], good[1])
    after = plan_of(tiny_study(dataset={"name": "demo", "root": str(root)}), tmp_path)
    assert not set(before.cells) & set(after.cells)
    assert trainings(before) == trainings(after)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no root": ({"dataset": {"name": "mvtec_ad"}}, r"dataset\.root"),
    "missing folder": ({"dataset": {"name": "mvtec_ad", "root": "/nowhere/at/all"}}, "/nowhere/at/all"),
    "unknown category": ({"categories": ["coins"]}, "coin"),
    "too many shots": ({"shots": 500}, "500"),
    "unknown encoder": ({"encoder": "clip"}, "conse-lite0-minilm"),
    "random encoder": ({"encoder": "open_clip:ViT-B-32:random"}, "random"),
    "missing encoder": ({"encoder": "open_clip:ViT-B-32:laion2b_s34b_b79k"}, "laion2b_s34b_b79k"),
    "unknown object": ({"objects": {"coin": "coinn"}}, "coin"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_before_anything_is_written(
    name: str, tiny_study: Callable[..., Study], tmp_path: Path
) -> None:
    fields, pattern = BAD[name]
    out = tmp_path / "out"
    with pytest.raises(BadInput, match=pattern) as caught:
        plan_of(tiny_study(**fields), out)
    assert "\n" not in str(caught.value)
    assert not out.exists()


def test_listed_originals_replace_drawn_ones(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    ids = ["train/good/003.png", "train/good/001.png"]
    study = tiny_study(support={"coin": ids}, support_seeds=[0, 1])
    plan = plan_studies([study], Options(str(tmp_path)))
    for planned in plan.cells.values():
        assert planned.columns["support_ids"] == ids
        assert (planned.columns["shots"], planned.columns["support_seed"]) == ("2", None)
    assert {planned.cell.seed for planned in plan.cells.values()} == {0, 1}
    assert load_study(write_yaml(study, tmp_path)) == study
    with pytest.raises(BadInput, match=r"support: brick is no category of the study; there are: coin"):
        plan_studies([tiny_study(support={"brick": ids})], Options(str(tmp_path)))


def write_yaml(study: Study, folder: Path) -> str:
    path = folder / "study.yaml"
    path.write_text(to_yaml(study))
    return str(path)


def test_the_objects_name_reaches_and_identifies_only_who_reads_it(
    tiny_study: Callable[..., Study], tmp_path: Path
) -> None:
    detectors = [{"name": "winclip", "weights": "random"}, {"image_size": 64}]
    found = [
        detections(plan_of(tiny_study(detectors=detectors, **fields), tmp_path))
        for fields in ({"arms": ["original"]}, {"arms": ["original"], "objects": {"coin": "pill"}})
    ]
    assert [each["winclip-random"].object_name for each in found] == ["coin", "pill"]
    assert [each["patchcore-lite0"].object_name for each in found] == [None, None]
    assert found[0]["winclip-random"].fingerprint != found[1]["winclip-random"].fingerprint
    assert found[0]["patchcore-lite0"].fingerprint == found[1]["patchcore-lite0"].fingerprint


def test_senses_apply_to_the_objects_that_they_name(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    def planned(**fields: object) -> dict[str, tuple[str, tuple[str, ...]]]:
        plan = plan_of(tiny_study(categories=["brick", "coin"], **fields), tmp_path)
        return {stage.object_name: (stage.key, stage.words) for stage in plan.of(PromptStage)}

    every, one = planned(), planned(prompt={"senses": ["brick.n.01"]})
    assert set(one["brick"][1]) < set(every["brick"][1])
    assert one["brick"][0] != every["brick"][0]
    assert one["coin"] == every["coin"]
    # The words identify a ranking, however they came to be.
    assert planned(prompt={"senses": ["brick.n.01", "brick.n.02"]}) == every


def test_a_study_that_allows_prompts_without_words_plans_the_same_ones_for_nouns(
    tiny_study: Callable[..., Study], tmp_path: Path
) -> None:
    categories, allowed = ["brick", "coin"], {"naive_if_unknown": True, "wordnet": "extract"}
    every = plan_of(tiny_study(categories=categories), tmp_path)
    assert prompts(plan_of(tiny_study(categories=categories, prompt=allowed), tmp_path)) == prompts(every)
    unknown = plan_of(tiny_study(categories=categories, prompt=allowed, objects={"coin": "fryum"}), tmp_path)
    assert {stage.object_name: len(stage.words) for stage in unknown.of(PromptStage)}["fryum"] == 0
    assert len(prompts(unknown) & prompts(every)) == 1


@pytest.mark.parametrize(
    ("sense", "message"),
    [
        ("hazelnut.n.01", r"hazelnut\.n\.01 is a sense of none of the study's objects \(coin\); name one of these"),
        ("coin.n.07", r"coin\.n\.07 is no sense of 'coin' in WordNet .* choose of coin\.n\.01 a flat metal piece"),
        ("coin", r"prompt\.senses: sense 'coin' must read <noun>\.n\.<number>"),
    ],
)
def test_a_sense_that_no_object_has_is_refused_when_planning(
    sense: str, message: str, tiny_study: Callable[..., Study], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(BadInput, match=message) as caught:
        plan_of(tiny_study(prompt={"senses": [sense]}), out)
    assert "\n" not in str(caught.value)
    assert not out.exists()


def test_weights_that_are_missing_end_a_study_before_it_starts(
    tiny_study: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    study = tiny_study(detectors=[{"name": "efficient_ad", "preset": "paper"}])
    with pytest.raises(MissingWeights, match="efficient_ad-paper: weight efficient_ad_teacher_small is missing"):
        plan_of(study, tmp_path)


def test_start_weights_are_part_of_the_plan(
    tiny_study: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from goodshot.components.generator.vqgan import VQGAN

    scratch = tiny_study()
    generator = scratch.generator.model_dump()
    files = [tmp_path / f"{name}.ckpt" for name in ("one", "same", "other")]
    torch.manual_seed(0)
    state = VQGAN(scratch.generator.vqgan, 32).state_dict()
    torch.save({"state_dict": state}, files[0])
    shutil.copy(files[0], files[1])
    torch.save({"state_dict": {name: tensor * 2 for name, tensor in state.items()}}, files[2])
    plans = [plan_of(tiny_study(generator={**generator, "init": f"taming:{file}"}), tmp_path) for file in files]
    keys = [key for plan in (plan_of(scratch, tmp_path), *plans) for key in trainings(plan)]
    assert len(keys) == 4
    assert keys[1] == keys[2]
    assert len(set(keys)) == 3
    (stage,) = plans[0].of(TrainingStage)
    assert len(stage.start_sha256 or "") == 64
    monkeypatch.setenv("GOODSHOT_CACHE", str(tmp_path / "cache"))
    published = {**generator, "vqgan": "f16", "resolution": 256, "init": "taming:imagenet_1024"}
    with pytest.raises(BadInput, match=r"imagenet_1024.ckpt; remedy: goodshot fetch taming:imagenet_1024"):
        plan_of(tiny_study(generator=published), tmp_path)


def test_a_category_may_have_its_own_augmentation(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    both = ["brick", "coin"]
    plain = plan_of(tiny_study(categories=both), tmp_path)
    study = tiny_study(categories=both, category_augmentation={"brick": "strong"})
    plan = plan_of(study, tmp_path)
    assert {g.category: g.augmentation for g in plan.of(TrainingStage)} == {"brick": "strong", "coin": "mild"}
    assert len(trainings(plan) & trainings(plain)) == 1
    assert study.control_policy == "strong"
    with pytest.raises(BadInput, match="category_augmentation: pear is no category"):
        plan_of(tiny_study(category_augmentation={"pear": "strong"}), tmp_path)


def test_the_encoders_precision_is_part_of_what_it_decides(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    plain, mixed = (plan_of(tiny_study(encoder_precision=p), tmp_path) for p in ("fp32", "bf16"))
    assert not prompts(plain) & prompts(mixed)
    assert trainings(plain) == trainings(mixed)
    assert {stage.id for stage in plain.of(TrainingStage)}.isdisjoint(stage.id for stage in mixed.of(TrainingStage))
    assert {stage.key for stage in plain.of(ImageSetStage)}.isdisjoint(stage.key for stage in mixed.of(ImageSetStage))
    assert {stage.precision for stage in mixed.of(TrainingStage)} == {"bf16"}
