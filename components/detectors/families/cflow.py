"""CFlow: a model of anomalib with a budget and a paper preset of its own."""

from goodshot.components.detectors.families.anomalib_family import AnomalibFamily

CFLOW = AnomalibFamily(
    "cflow",
    default={"steps": 40, "batch_size": 4, "learning_rate": 1e-3, "args": {"fiber_batch_size": 128}},
    paper={
        "backbone": "wide_resnet50_2",
        "layers": ("layer2", "layer3", "layer4"),
        "args": {"coupling_blocks": 8, "condition_vector": 128, "fiber_batch_size": 64, "clamp_alpha": 1.9},
        "epochs": 50,
        "batch_size": 16,
        "learning_rate": 1e-4,
        "image_size": 256,
    },
)
