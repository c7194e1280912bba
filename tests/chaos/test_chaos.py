"""A short version of ``make chaos``: one run with several faults, and the slow one with a fault of each kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.faults import FAULTS, fault_of
from tests.chaos.runs import run
from tests.chaos.schedules import Strike, schedule
from tests.chaos.tables import written
from tests.chaos.world import Reference, undisturbed

MANY = 200


@pytest.fixture(scope="module")
def reference(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    return undisturbed(photographs, tmp_path_factory.mktemp("reference"))


def test_a_seed_always_draws_the_same_schedule_and_seeds_reach_every_kind() -> None:
    drawn = [schedule(seed) for seed in range(MANY)]
    assert drawn == [schedule(seed) for seed in range(MANY)]
    assert len(set(drawn)) == MANY
    assert [strikes[0].fault for strikes in drawn[: len(FAULTS)]] == [*FAULTS]
    assert all(strike.delay >= 0 and 0 <= strike.choice < 1 for strikes in drawn for strike in strikes)


def test_outcomes_are_counted_by_kind() -> None:
    struck = [{"fault": "kill-node", "at": 9.0, "made": 3, "recovered": 4.0}]
    good = {"seed": 0, "struck": struck, "exits": [0], "seconds": 40.0, "problems": [], "drivers": 1}
    bad = {**good, "seed": 1, "exits": [1, 0], "problems": ["lost: 2 rows", "verify: something"]}
    table = written([good, bad])
    assert table.startswith("2 runs, 0 of them of two drivers at once, with 2 faults; 1 had a problem.")
    (line,) = [line for line in table.splitlines() if "node lost" in line]
    assert [cell.strip() for cell in line.split("|")[2:-1]] == ["2", "1", "1", "0", "0", "1", "4", "4"]


@pytest.mark.timeout(600)
def test_a_study_survives_the_loss_of_a_stage_its_broker_and_a_node(reference: Reference, tmp_path: Path) -> None:
    strikes = tuple(Strike(2.0, fault_of(name), 0.5) for name in ("kill-generator", "kill-broker", "kill-node"))
    outcome = run(0, reference, tmp_path / "run", strikes)
    assert not outcome.problems
    assert outcome.exits == [0]
    # On a fast machine the study may be done before the last fault.
    assert outcome.struck[0].fault == "kill-generator"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_of_each_kind(fault: object, reference: Reference, tmp_path: Path) -> None:
    seed = next(seed for seed in range(MANY) if schedule(seed)[0].fault is fault)
    outcome = run(seed, reference, tmp_path / "run", schedule(seed)[:1])
    assert not outcome.problems
