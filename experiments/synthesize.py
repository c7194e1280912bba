"""The default settings of ``goodshot synthesize``: defective images of a user's own product."""

from goodshot.components.fusion.config import BaseConfig, FusionConfig, MaskEncoderConfig
from goodshot.runner.declaration.synthesis import SynthesisConfig
from goodshot.runner.study.experiment import Experiment
from goodshot.runner.study.study import Study

# A few minutes of one CPU core. The base learns less than in a study, because the fusion trains it further.
MINUTES = FusionConfig(batch=4, small=BaseConfig(steps=150, batch=4), masks=MaskEncoderConfig(steps=100))


def synthesize() -> Study:
    """The study of 'goodshot synthesize', which takes a user's own photographs. 'goodshot sweep' does not run it."""
    return Study(
        name="synthesize",
        arms=("fusion",),
        cells=("segmentation",),
        shots="full",
        support_seeds=(0,),
        copies=(20,),
        synthesis=SynthesisConfig(side=256, fusion=MINUTES),
    )


SYNTHESIZE = Experiment(
    "synthesize", "Defective images from a user's own photographs: 'goodshot synthesize'", lambda: (synthesize(),)
)
