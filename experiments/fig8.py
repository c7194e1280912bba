"""Fig. 8: every prompt of the hazelnut, ranked, and the images that the best, the worst and two others choose.

The paper: best "a {hazelnut} with {cobnut}" with a similarity of 33 %, worst "a {hazelnut} with {decantherous}" with
17 %; the latter is no word of WordNet.

Costs 12 cells, 3 trainings, under 0.1 GPU hours (an estimate: docs/experiments.md).

    goodshot sweep fig8 --root DIR --out runs/fig8
    goodshot prompts hazelnut --images DIR/hazelnut/train/good/000.png        the ranking alone, in seconds
"""

from goodshot.experiments.flavours import paper, quick
from goodshot.experiments.published.tgi import FIGURE_8
from goodshot.runner.study.experiment import Experiment
from goodshot.runner.study.study import Study


def fig8() -> tuple[Study, ...]:
    """The rankings of three supports, and what four prompts choose of one training each."""
    study = paper(
        "fig8",
        "Prompt rankings and the images that prompts choose",
        categories=["hazelnut"],
        cells=["images"],
        arms=["generated"],
        prompt_kind=["only_word", "naive", "best", "worst"],
    )
    return (study,)


FIG8 = Experiment(
    "fig8",
    "Prompt rankings",
    real=fig8,
    quick=lambda: tuple(map(quick, fig8())),
    references=FIGURE_8,
    item="Fig. 8",
)
