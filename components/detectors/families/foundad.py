"""FoundAD, which has its own names for timm's networks and takes no others."""

from goodshot.components.detectors.families.anomalib_family import AnomalibFamily

FOUNDAD = AnomalibFamily(
    "foundad",
    network_argument="encoder_name",
    named={  # a test compares it with anomalib's own table
        f"{family}_vit_{size}_{patch}": (f"timm:vit_{size}_patch{patch}_{family}.{tag}",)
        for family, patch, tag in (("dinov2", 14, "lvd142m"), ("dinov3", 16, "lvd1689m"))
        for size in ("small", "base", "large")
    },
    publisher=None,
)
