"""The demo: the whole pipeline on real photographs that ship with scikit-image, offline, on two CPU cores.

It needs about five minutes on 2 cores. The generators are small (0.8 million weights, 128 px, trained from one
photograph): the demo shows that the whole pipeline runs, not that generated images help.

    make demo        or        goodshot demo --out runs/demo
"""

from goodshot.components.detectors.config import DetectorConfig
from goodshot.runner.data.config import DatasetConfig
from goodshot.runner.declaration.search import Range, SearchConfig
from goodshot.runner.study.experiment import Experiment
from goodshot.runner.study.study import Study

DETECTOR = DetectorConfig(image_size=128)


def demo() -> Study:
    """The table of the demo: three categories × three supports × three arms at one grid point."""
    return Study(
        name="demo",
        title="One photograph per category: original, augmented, generated",
        dataset=DatasetConfig(name="demo"),
        support_seeds=(0, 1, 2),
        preset="default",
        vq_weight=(1.0,),
        copies=(10,),
        # Residuals at the photographs' own side of 128 px, instead of the preset's 256 px.
        detail=("residual",),
        detectors=(DETECTOR,),
    )


def demo_sweep() -> Study:
    """A 2 × 2 × 2 grid on one category and support, whose eight points need only two trainings."""
    return demo().model_copy(
        update={
            "name": "demo_sweep",
            "title": "vq_weight × copies × iterations on one category and one support",
            "categories": ("coin",),
            "support_seeds": (0,),
            "arms": ("original", "generated"),
            "vq_weight": (0.3, 1.0),
            "copies": (5, 10),
            "iterations": (30, 60),
        }
    )


def demo_search() -> Study:
    """A search with Optuna and ASHA over four fields and L on one category, judged by synthetic anomalies.

    It needs about eight minutes on 2 cores.

    goodshot sweep demo_search --out runs/search
    """
    space = {
        "vq_weight": Range(low=0.1, high=10, log=True),
        "copies": Range(low=4, high=20, step=4),
        "post_augment": ("none", "mild", "strong"),
        "variance": ("estimated", "unit"),
    }
    return demo().model_copy(
        update={
            "name": "demo_search",
            "title": "A search by synthetic anomalies on one category and two supports",
            "categories": ("coin",),
            "support_seeds": (0, 1),
            "arms": ("original", "generated"),
            "iterations": (20, 40),
            "objective": "planted",
            "search": SearchConfig(algorithm="optuna", scheduler="asha", trials=10, reduction=2, space=space),
        }
    )


DEMO = Experiment("demo", "The whole pipeline on embedded photographs", lambda: (demo(), demo_sweep()))
DEMO_SEARCH = Experiment(
    "demo_search", "Optuna and ASHA over five fields, judged by synthetic anomalies", lambda: (demo_search(),)
)
