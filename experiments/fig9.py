"""Fig. 9: the similarity of image set and best prompt over the iterations, for hazelnut and leather.

The paper prints curves without numbers: the similarity rises, has its maximum at some iteration and falls. Here up to
L = 500, scored at every tenth iteration.

Costs 12 cells, 6 trainings, about 0.2 GPU hours (an estimate: docs/experiments.md).

    goodshot sweep fig9 --root DIR --out runs/fig9
"""

from goodshot.experiments.flavours import paper, quick
from goodshot.runner.study.experiment import Experiment
from goodshot.runner.study.study import Study


def fig9() -> tuple[Study, ...]:
    """One long training of each support; the sets of L = 100 that other experiments use lie on its way."""
    study = paper(
        "fig9",
        "Similarity by iteration",
        categories=["hazelnut", "leather"],
        cells=["images"],
        arms=["generated"],
        iterations=[100, 500],
    )
    return (study,)


FIG9 = Experiment(
    "fig9",
    "Similarity by iteration",
    real=fig9,
    quick=lambda: tuple(quick(study, categories=["coin", "gravel"], iterations=[20, 40]) for study in fig9()),
    item="Fig. 9",
)
