"""The experiments of the paper as they are declared: what each of them has, in both of its flavours."""

from __future__ import annotations

import importlib
import re
from collections import Counter
from pathlib import Path

import pytest

from goodshot import experiments
from goodshot.components.data.datasets import dataset_of
from goodshot.experiments.published.tgi import CAPTION
from goodshot.runner.cli import main
from goodshot.runner.machine.needs import needs_of
from goodshot.runner.named import experiment_names, load_studies
from goodshot.runner.plan.plan import Plan
from goodshot.runner.run.execute import plan_studies
from goodshot.runner.run.options import Options
from goodshot.runner.stages.prompt import PromptStage
from goodshot.runner.stages.shard import ShardStage
from goodshot.runner.stages.training import TrainingStage
from goodshot.runner.study.experiment import Experiment
from goodshot.runner.study.settings import read_study, to_yaml
from goodshot.runner.study.study import Study

FOLDER = Path(experiments.__file__).parent
ITEMS = {"table1", "table2", "table3", "fig1", "fig2", "fig5", "fig6", "fig7", "fig8", "fig9", "fig10"}
FUSION = {*(f"fusion_table{number}" for number in range(1, 7)), "fusion_fig4", "fusion_fig5"}
PAPER = tuple(one for one in experiments.EXPERIMENTS if one.item or one.name == "sweep")
BY_NAME = [pytest.param(one, id=one.name) for one in PAPER]


def test_every_item_of_the_paper_has_an_experiment_and_the_sweep() -> None:
    assert {one.name for one in PAPER} == ITEMS | FUSION | {"sweep"}
    assert all(one.quick is not None for one in PAPER)


def test_names_are_unique_over_all_flavours() -> None:
    flavours = [(one, quick) for one in experiments.EXPERIMENTS for quick in (False, True) if one.quick or not quick]
    names = Counter(study.name for one, quick in flavours for study in one.studies(quick))
    assert max(names.values()) == 1
    assert len(experiment_names()) == len(experiments.EXPERIMENTS)


@pytest.mark.parametrize("one", BY_NAME)
def test_a_module_says_what_it_repeats_and_how(one: Experiment) -> None:
    module = importlib.import_module(f"goodshot.experiments.{one.name}")
    text = module.__doc__ or ""
    first = one.item.partition(",")[0] or "The sweep"
    assert text.startswith(first)
    assert f"goodshot sweep {one.name} --root " in text
    assert len((FOLDER / f"{one.name}.py").read_text().splitlines()) <= 80


@pytest.mark.parametrize("one", BY_NAME)
def test_the_real_flavour_is_the_papers_setting_with_the_controls_that_it_lacks(one: Experiment) -> None:
    for study in one.studies():
        assert study.preset == "paper"
        assert study.generator.init == "taming:imagenet_1024"
        assert study.encoder == "open_clip:ViT-B-32:openai"
        assert len(study.support_seeds) >= 3
        assert not study.oracle
        assert {study.dataset.name} <= {"mvtec_ad", "mvtec_loco", "btad"}
        assert {*study.categories} <= {*dataset_of(study.dataset.name).categories}
        if "detection" in study.cells:
            assert {"original", "augmented", "generated"} <= {*study.arms}
            # One list of detectors for all arms: the same backbone with and without added images.
            assert all(detector.uses_backbone() != "efficientnet_lite0" for detector in study.detectors)


@pytest.mark.parametrize("one", BY_NAME)
def test_studies_are_read_back_from_their_yaml(one: Experiment, tmp_path: Path) -> None:
    for study in (*one.studies(), *one.studies(quick=True)):
        path = tmp_path / f"{study.name}.yaml"
        path.write_text(to_yaml(study))
        assert read_study(str(path)) == study


@pytest.mark.parametrize("one", BY_NAME)
def test_a_real_flavour_runs_on_the_embedded_weights_too(one: Experiment) -> None:
    for study in load_studies(one.name, ["preset=default"])[1]:
        assert {need.name for need in needs_of(study) if not need.instead} <= {"efficientnet_lite0", "all-minilm-l6-v2"}
        assert [detector.label for detector in study.detectors] == ["patchcore-lite0"]


@pytest.mark.parametrize("one", BY_NAME)
def test_the_quick_flavour_asks_the_same_of_what_is_embedded(one: Experiment) -> None:
    asked = ("cells", "prompt_kind", "select", "variance", "arms")
    real = {tuple(getattr(study, field) for field in asked) for study in one.studies()}
    for study in one.studies(quick=True):
        assert tuple(getattr(study, field) for field in asked) in real
        assert study.dataset.is_written_here
        assert all(need.present or need.instead for need in needs_of(study))
        assert study.prompt.caption != CAPTION


def test_table_1_runs_without_and_with_a_users_own_images(tmp_path: Path) -> None:
    folder = tmp_path / "web"
    arms = f'arms=[original, augmented, "external:{folder}", vqgan_clip, generated]'
    (study,) = load_studies("table1", [arms])[1]
    assert [arm.label for arm in study.own_arms][2] == "external:web"
    row = {"dataset": "mvtec_ad", "category": "hazelnut", "shots": "1", "copies": 1, "arm": "external:web"}
    (image, pixel) = (one for one in experiment_names()["table1"].references if one.matches(row))
    assert (image.value, pixel.value) == (0.848, 0.931)


@pytest.fixture(scope="module")
def quick_plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    studies = [study for one in PAPER for study in one.studies(quick=True)]
    return plan_studies(studies, Options(str(tmp_path_factory.mktemp("quick"))))


def test_one_store_serves_all_quick_flavours(quick_plan: Plan) -> None:
    trained = Counter((stage.category, len(stage.support.ids)) for stage in quick_plan.of(TrainingStage))
    # The coin with one shot: three variances, and the other λ of the sweep.
    assert trained == {("coin", 1): 4, ("coin", 5): 1, ("coin", 16): 1, ("gravel", 1): 1}
    # Table 1 has a caption, which is part of a ranking.
    assert len(quick_plan.of(PromptStage)) == 5
    alone = sum(len(fingerprints) for fingerprints in quick_plan.cells_of.values())
    assert len(quick_plan.cells) < alone


@pytest.mark.parametrize("one", BY_NAME)
def test_every_planned_stage_is_one_that_an_arm_or_a_cell_kind_names(one: Experiment, tmp_path: Path) -> None:
    """Their weights are asked for by these classes, before anything is planned."""
    for study in one.studies(quick=True) if one.quick else ():
        plan = plan_studies([study], Options(str(tmp_path)))
        named = {stage for owner in (*study.own_arms, *study.own_kinds) for stage in owner.stages}
        planned = {type(stage) for stage in (*plan.stages.values(), *plan.cells.values())}
        assert planned <= named | {ShardStage}


def test_experiments_are_listed_with_the_papers_item(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["studies"]) == 0
    listed = capsys.readouterr().out
    for one in PAPER:
        assert re.search(rf"^{one.name} +{re.escape(one.item)}", listed, re.MULTILINE)
    assert main(["studies", "--quick"]) == 0
    names = capsys.readouterr().out.split()
    assert {*names} >= {one.name for one in PAPER}
    assert all(load_studies(name, quick=True)[1] for name in names)


def study_of(name: str) -> Study:
    return next(study for one in PAPER for study in one.studies() if study.name == name)


def test_the_figures_read_the_same_trainings() -> None:
    def generator(name: str) -> tuple[object, ...]:
        study = study_of(name)
        return study.generator, study.encoder, study.score_every, study.augmentation, study.support_seeds

    names = {study.name for one in PAPER for study in one.studies()}
    assert {generator(name) for name in names} == {generator("table1")}
