"""The default settings of ``goodshot generate``: one set of images from a user's own photographs."""

from runner.study.experiment import Experiment
from runner.study.study import Study


def generate() -> Study:
    """Make good images from a user's own photographs: for 'goodshot generate', not for 'goodshot sweep'."""
    # Images are kept as generated: a detector's user rotates and mirrors them as the product allows.
    return Study(
        name="generate",
        preset="default",
        arms=("generated",),
        support_seeds=(0,),
        copies=(20,),
        post_augment=("none",),
    )


GENERATE = Experiment("generate", "Images from a user's own photographs: 'goodshot generate'", lambda: (generate(),))
