"""What ``goodshot generate`` makes unless it is told otherwise: one set of images of a user's own photographs."""

from runner.study.experiment import Experiment
from runner.study.study import Study


def generate() -> Study:
    """A user's own photographs in, good images out: 'goodshot generate', not 'goodshot sweep'."""
    # As they were generated: a detector's user turns and mirrors them as the product allows.
    return Study(
        name="generate",
        preset="default",
        arms=("generated",),
        support_seeds=(0,),
        copies=(20,),
        post_augment=("none",),
    )


GENERATE = Experiment("generate", "What 'goodshot generate' makes of a user's own photographs", lambda: (generate(),))
