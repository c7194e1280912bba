"""What other methods reach on the same datasets: lines of reference, beside which a gain is to be seen.

Mean image AUROC over a dataset's categories, each as its own authors report it, except the one-shot PatchCore values,
which the authors of WinCLIP and UniVAD measured. No few-shot table of BTAD is published.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from goodshot.runner.study.experiment import Reference

BEST: Mapping[tuple[str, str], tuple[tuple[str, str, float], ...]] = MappingProxyType(
    {
        ("mvtec_ad", "1"): (
            ("PatchCore", "as measured in WinCLIP, CVPR 2023", 0.834),
            ("WinCLIP+", "Jeong et al., CVPR 2023", 0.931),
            ("PromptAD", "Li et al., CVPR 2024", 0.946),
            ("AnomalyDINO", "Damm et al., WACV 2025", 0.966),
            ("SubspaceAD", "Lendering et al., CVPR 2026, arXiv:2602.23013", 0.971),
            ("VisionAD", "arXiv:2504.11895", 0.974),
        ),
        ("mvtec_ad", "full"): (
            ("Dinomaly", "Guo et al., CVPR 2025, its smallest reported value", 0.996),
            ("UniNet", "Wei et al., CVPR 2025", 0.999),
        ),
        ("btad", "full"): (("UniNet", "Wei et al., CVPR 2025", 0.977),),
        ("mvtec_loco", "1"): (
            ("PatchCore", "as measured in UniVAD, CVPR 2025", 0.620),
            ("UniVAD", "CVPR 2025", 0.710),
        ),
        ("mvtec_loco", "full"): (("SALAD", "Fučka et al., arXiv:2509.02101", 0.961),),
    }
)
"""Dataset and shots → (method, publication, mean image AUROC), ascending."""


def field(dataset: str, *shots: str) -> tuple[Reference, ...]:
    """The lines of reference for a dataset and these numbers of shots."""
    return tuple(
        Reference(
            f"{method} ({publication})",
            "image_auroc",
            value,
            {"dataset": dataset, "shots": each},
            "another method, with its own backbone",
            kind="field",
            mean_over=("category",),
        )
        for each in shots
        for method, publication, value in BEST.get((dataset, each), ())
    )
