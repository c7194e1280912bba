"""Table 3: what the text, the number of images and the variance contribute (PatchCore).

The paper, image / pixel AUROC in %: baseline 74.5 / 97.0; without text 77.6 / 97.1, with 79.1 / 96.9; 1, 10, 20, 30,
50, 100 images 78.6, 77.9, 78.4, 79.0, 78.5, 78.4; without variance 74.3 / 97.0, with 78.9 / 97.3. It states neither
category nor shots: here one shot on all 15 categories of MVTec AD, whose mean stands beside the paper's value.

Costs 720 cells, 135 trainings, about 1.1 GPU hours (an estimate: docs/experiments.md).

    goodshot sweep table3 --root DIR --out runs/table3

On the embedded weights: ``--set preset=default --set detail=none --set post_augment=none`` (the last two leave the
images as decoded, as the paper does).
"""

from goodshot.experiments.flavours import paper, quick
from goodshot.experiments.published.tgi import TABLE_3
from goodshot.runner.study.experiment import Experiment
from goodshot.runner.study.study import Study


def table3() -> tuple[Study, ...]:
    """The three ablations; the first two read the same trainings."""
    return (
        paper("table3_text", "Chosen by the text, or the last iteration", select=["last", "text"]),
        paper("table3_copies", "The number of generated images", copies=[1, 10, 20, 30, 50, 100]),
        paper(
            "table3_variance", "Estimated variance, none, and that of a unit", variance=["none", "estimated", "unit"]
        ),
    )


def table3_quick() -> tuple[Study, ...]:
    """The three ablations on one coin, with 1 to 8 images."""
    text, copies, variance = table3()
    return quick(text), quick(copies, copies=[1, 2, 4, 8]), quick(variance)


TABLE3 = Experiment(
    "table3",
    "What text, number of images and variance contribute",
    real=table3,
    quick=table3_quick,
    references=TABLE_3,
    item="Table 3",
)
