"""One and few shots on MVTec AD: is a detector better with generated images than without, and than plain augmentation?

Paper (fig. 5, PatchCore on a wide ResNet-50, one shot): a mean gain of 15.7 % over 15 categories. Here: the embedded
EfficientNet-Lite0 backbone and the embedded ConSE encoder, which say so in their names; nothing is downloaded.

    goodshot sweep oneshot_lite0 --set dataset.root=FOLDER --set categories=[bottle,pill] --out runs/oneshot
"""

from runner.data.config import DatasetConfig
from runner.study.study import Study


def oneshot_lite0() -> Study:
    """One shot, three supports, three arms, PatchCore on EfficientNet-Lite0 at 256 px with the whole memory bank.

    The generated arm comes twice from one training: decoded as it is, and as residual detail on the original; plain
    augmentation is on top of both. About 3 minutes per category on 2 CPU cores.
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
