"""The default settings of ``goodshot generate``: one set of images from a user's own photographs."""

from goodshot.runner.study.experiment import Experiment
from goodshot.runner.study.study import Study


def generate() -> Study:
    """The study of 'goodshot generate', which takes a user's own photographs. 'goodshot sweep' does not run it."""
    # The images are not augmented: only the user knows which rotations and reflections the product allows.
    return Study(
        name="generate",
        preset="default",
        arms=("generated",),
        support_seeds=(0,),
        copies=(20,),
        post_augment=("none",),
    )


GENERATE = Experiment("generate", "Images from a user's own photographs: 'goodshot generate'", lambda: (generate(),))
