"""EfficientAD, which learns from a teacher (its own or the embedded backbone) and from natural images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from goodshot.components.detectors.backbones import EMBEDDED_BACKBONE
from goodshot.components.detectors.families.anomalib_family import AnomalibFamily
from goodshot.components.detectors.natural import NaturalImages
from goodshot.components.errors import BadInput
from goodshot.components.weights.registry import IMAGENETTE, TEACHER

if TYPE_CHECKING:
    from torch import Tensor

    from goodshot.components.detectors.anomalib_model import AnomalibDetector
    from goodshot.components.detectors.config import DetectorConfig


SMALLEST = 256
"""Side in pixels of the smallest images that reach its autoencoder's last kernel of 8 × 8 after five strides of 2."""


@dataclass(frozen=True, eq=False)
class EfficientADFamily(AnomalibFamily):
    """EfficientAD: `backbone` None means the distilled teacher, the embedded backbone replaces the teacher."""

    # The teacher is one of three networks that read the same images.
    embedded_reads_images = False

    @property
    def reads_layers(self) -> bool:
        """Whether there are layers to read: only with the embedded backbone as the teacher."""
        return True

    @property
    def takes_embedded(self) -> bool:
        """Whether the embedded backbone can be the teacher."""
        return True

    def check(self, config: DetectorConfig) -> None:
        """Raise as `AnomalibFamily.check` does, for batches of several images and for too small images."""
        super().check(config)
        if config.resolution < SMALLEST:
            raise BadInput(
                f"detector {self.name}: its autoencoder needs images of {SMALLEST} pixels or more, not "
                f"{config.resolution}; set image_size: {SMALLEST}"
            )
        if config.batch_size != 1:
            raise BadInput(f"detector {self.name}: trains on one image at a time; set batch_size: 1")

    def check_backbone(self, config: DetectorConfig) -> None:
        """Raise `BadInput` for a backbone that cannot be the teacher."""
        if config.backbone not in (None, EMBEDDED_BACKBONE):
            raise BadInput(f"detector {self.name}: its teacher is its own (backbone: null) or {EMBEDDED_BACKBONE}")

    def networks(self, config: DetectorConfig) -> tuple[str, ...]:
        """The distilled teacher for the model's size."""
        return (f"{TEACHER}{config.args.get('model_size', 'small')}",)

    def network_arguments(self, config: DetectorConfig) -> dict[str, Any]:
        """No arguments: anomalib's class builds its own teacher, which is then replaced or loaded."""
        return {}

    def prepare(self, module: Any, config: DetectorConfig) -> None:
        """Replace the teacher by the embedded backbone, and prevent the module from loading its own weights into it."""
        if config.backbone == EMBEDDED_BACKBONE:
            _give_a_teacher(module, config)
        if config.backbone == EMBEDDED_BACKBONE or config.weights == "random":
            module.prepare_pretrained_model = lambda: None
        super().prepare(module, config)

    def fit(self, detector: AnomalibDetector, good: list[Tensor]) -> None:
        """Train; statistics that anomalib measures on other images are measured once on each good image.

        The statistics are the teacher's channel statistics, for which anomalib reads the train loader (ours repeats the
        images for all steps), and the quantiles that combine the maps, for which it reads validation images, by default
        test images.
        """
        data, module = detector.data(good), detector.module
        if len(data.order) < 2:
            raise BadInput(f"detector {detector.config.label}: its schedule of the learning rate needs 2 steps")
        measure = module.teacher_channel_mean_std
        module.teacher_channel_mean_std = lambda loader: measure(data.each_once())
        detector.train(data)
        module.eval()
        module.model.quantiles.update(module.map_norm_quantiles(data.each_once()))


def _give_a_teacher(module: Any, config: DetectorConfig) -> None:
    from goodshot.components.detectors.embedded import Lite0Teacher, feature_extractor

    for argument in ("teacher_out_channels", "padding"):
        if argument in config.args:
            raise BadInput(
                f"detector {config.label}: {argument} belongs to its own teacher; the embedded backbone sets it"
            )
    features = feature_extractor(config.layers or ())
    size, channels = config.args.get("model_size", "small"), sum(features.out_dims)
    module.model = type(module.model)(channels, size, pad_maps=config.args.get("pad_maps", True))
    module.model.teacher = Lite0Teacher(features).eval()


EFFICIENT_AD = EfficientADFamily(
    "efficient_ad",
    default={"steps": 40, "batch_size": 1, "learning_rate": 1e-3},
    paper={
        "backbone": None,
        "layers": None,
        "args": {
            "model_size": "small",
            "teacher_out_channels": 384,
            "weight_decay": 1e-5,
            "imagenet_dir": IMAGENETTE,
        },
        "steps": 70_000,
        "batch_size": 1,
        "learning_rate": 1e-4,
        "image_size": 256,
    },
    natural=NaturalImages("imagenet_dir", embedded=True),
)
