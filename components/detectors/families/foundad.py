"""FoundAD, which calls timm's networks by names of its own and knows no others."""

from components.detectors.families.anomalib_family import AnomalibFamily

FOUNDAD = AnomalibFamily(
    "foundad",
    network_argument="encoder_name",
    named={  # a test holds it equal to anomalib's own table
        f"{family}_vit_{size}_{patch}": (f"timm:vit_{size}_patch{patch}_{family}.{tag}",)
        for family, patch, tag in (("dinov2", 14, "lvd142m"), ("dinov3", 16, "lvd1689m"))
        for size in ("small", "base", "large")
    },
    publisher=None,
)
