"""One shot on MVTec AD: do generated images improve a detector, and more than plain augmentation does?

The paper reports a mean gain of 15.7 % over 15 categories (fig. 5, PatchCore on a wide ResNet-50, one shot). This
experiment uses the embedded EfficientNet-Lite0 backbone and the embedded ConSE encoder, as the names in its tables
state. It downloads nothing.

    goodshot sweep oneshot_lite0 --set dataset.root=FOLDER --set categories=[bottle,pill] --out runs/oneshot
"""

from goodshot.experiments.published.tgi_readme import TABLES
from goodshot.runner.data.config import DatasetConfig
from goodshot.runner.study.experiment import Experiment, Reference
from goodshot.runner.study.study import Study

SOURCE = 'TGI\'s repository, README, table "One-shot", row PatchCore (ResNet-18)'
ONE_SHOT = TABLES["1"][0].by_category
"""Published image AUROC by category, in [0, 1]: PatchCore trained on one photograph and images generated from it."""


def oneshot_lite0() -> Study:
    """One shot, three supports, three arms, PatchCore on EfficientNet-Lite0 at 256 px with the whole memory bank.

    One training makes two variants of the generated arm: decoded images, and decoded residuals on the original. Both
    get plain augmentation as well. A category needs about 3 minutes on 2 CPU cores.
    """
    return Study(
        name="oneshot_lite0",
        title="One shot, PatchCore on EfficientNet-Lite0",
        dataset=DatasetConfig(name="mvtec_ad"),
        shots=1,
        support_seeds=(0, 1, 2),
        preset="default",
        copies=(20,),
        detail=("none", "residual_256"),
    )


def oneshot_quick() -> Study:
    """The quick flavour: one embedded category, one support and a short training, about a minute on 2 CPU cores."""
    fields = {
        "name": "oneshot_quick",
        "title": "One shot, PatchCore on EfficientNet-Lite0, one embedded category",
        "dataset": DatasetConfig(name="demo"),
        "categories": ("coin",),
        "support_seeds": (0,),
        "copies": (5,),
        "iterations": (20,),
        "detail": ("residual",),
    }
    return oneshot_lite0().model_copy(update=fields)


ONESHOT_LITE0 = Experiment(
    "oneshot_lite0",
    "One shot on MVTec AD: original, augmented, generated",
    real=lambda: (oneshot_lite0(),),
    quick=lambda: (oneshot_quick(),),
    references=tuple(
        Reference(
            SOURCE,
            "image_auroc",
            value,
            {"dataset": "mvtec_ad", "category": category, "arm": "generated", "shots": "1"},
            "PatchCore on ResNet-18, CLIP and a published VQGAN",
        )
        for category, value in ONE_SHOT.items()
    ),
)
