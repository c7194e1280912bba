"""The sweep over λ × copies × L on all 23 categories of MVTec AD, MVTec LOCO AD and BTAD: one shot, PatchCore.

Ours: the paper states none of the three. One training for each λ, support and category serves every number of copies
and every L. The grid is judged by ``objective: similarity``, which reads no test label; ``--set objective=planted``
judges it by synthetic anomalies. The three studies run as one experiment, or each by its name.

Costs 8,763 cells, 276 trainings, about 13 GPU hours (an estimate: docs/experiments.md).

    goodshot sweep sweep --root mvtec_ad=DIR --root mvtec_loco=DIR --root btad=DIR --out runs/sweep
    goodshot sweep sweep_btad --root DIR --out runs/sweep

A search instead of the grid, with L as ASHA's time: ``--set search.algorithm=optuna --set search.scheduler=asha
--set search.trials=40``.
"""

from goodshot.experiments.flavours import paper, quick
from goodshot.experiments.published.field import field
from goodshot.runner.study.experiment import Experiment
from goodshot.runner.study.study import Study

DATASETS = {"mvtec_ad": "MVTec AD", "mvtec_loco": "MVTec LOCO AD", "btad": "BTAD"}


def sweep() -> tuple[Study, ...]:
    """A study for each dataset, over 4 λ × 6 numbers of copies × 5 L."""
    return tuple(
        paper(
            f"sweep_{name}",
            f"λ × copies × L on {title}",
            dataset={"name": name},
            vq_weight=[0.1, 0.3, 1.0, 3.0],
            copies=[1, 10, 20, 30, 50, 100],
            iterations=[20, 50, 100, 200, 500],
        )
        for name, title in DATASETS.items()
    )


def sweep_quick() -> tuple[Study, ...]:
    """Two values of each on one coin, as one study: the embedded photographs are one dataset."""
    title = "λ × copies × L (quick flavour)"
    small = {"vq_weight": [0.3, 1.0], "copies": [2, 4], "iterations": [10, 20]}
    return (quick(sweep()[0], name="sweep_quick", title=title, **small),)


SWEEP = Experiment(
    "sweep",
    "λ × copies × L over all 23 categories of three datasets",
    real=sweep,
    quick=sweep_quick,
    references=(*field("mvtec_ad", "1"), *field("mvtec_loco", "1")),
)
