"""The numbers that the AnomalyXFusion paper prints in its Tables 1 to 6, for every method and category.

Hu et al., "AnomalyXFusion: Multi-modal Anomaly Synthesis with Diffusion", https://github.com/hujiecpp/MVTec-Caption.
Numbers stand here as they are printed: AUC, AP, F1 and accuracy in percent. All rows but the last of each metric are
of other methods (`METHODS`), most of which cannot run here; the paper does not say which of them it measured itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

PAPER = "AnomalyXFusion, Hu et al."
OURS = "AnomalyXFusion"

CATEGORIES = (
    *("bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut", "pill", "screw", "tile"),
    *("toothbrush", "transistor", "wood", "zipper"),
)
"""The columns of Tables 1 and 3."""
CLASSIFIED = tuple(category for category in CATEGORIES if category != "toothbrush")
"""The columns of Table 4: toothbrush has a single defect type."""
LOCO = tuple(
    f"{category}/{kind}"
    for category in ("breakfast_box", "juice_bottle", "pushpins", "screw_bag", "splicing_connectors")
    for kind in ("logical", "structural")
)
"""The columns of Tables 2 and 5: category and kind of anomaly."""


@dataclass(frozen=True)
class Method:
    """A method of the tables. publication: where it is from. here: the arm that is its idea in this project, if any."""

    publication: str
    here: str | None = None


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "DiffAug": Method("Zhao et al., NeurIPS 2020"),
        "CDC": Method("Ojha et al., CVPR 2021"),
        "Crop-P": Method("Lin et al., ICME 2021", "crop_paste"),
        "SDGAN": Method("Niu et al., IEEE T-ASE 2020"),
        "DefGAN": Method("Defect-GAN, Zhang et al., WACV 2021"),
        "DFMGAN": Method("Duan et al., AAAI 2023"),
        "AnoDiff": Method("AnomalyDiffusion, Hu et al., AAAI 2024"),
        "DRAEM": Method("Zavrtanik et al., ICCV 2021; printed as DREAM"),
        "PRN": Method("Zhang et al., CVPR 2023"),
        OURS: Method("the paper itself", "fusion"),
    }
)
"""Label → method. DRAEM's row is that of its own network, not of a U-Net that learned from its noise, so that no arm
here repeats it. The tables cite reference 13, which is SDGAN's, for Crop-P."""


@dataclass(frozen=True)
class Row:
    """A row as printed: the method's label, the metric, the printed mean, and the values in the table's columns."""

    method: str
    metric: str
    mean: float
    values: tuple[float, ...]

    @property
    def true_mean(self) -> float:
        """The mean of the printed values."""
        return sum(self.values) / len(self.values)


@dataclass(frozen=True)
class Table:
    """A table with a column for each category.

    columns: their names. rows: in their order. decimals: of the printed means.
    """

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    decimals: int = 2

    def value(self, method: str, metric: str, column: str) -> float:
        """The printed value. Raises KeyError if there is no such row or column."""
        for row in self.rows:
            if (row.method, row.metric) == (method, metric):
                return dict(zip(self.columns, row.values, strict=True))[column]
        raise KeyError((method, metric))


def _rows(printed: str) -> tuple[Row, ...]:
    """Reads a table: a line with the metric, below it a line for each method with its mean, then the columns."""
    rows, metric = [], ""
    for line in printed.strip().splitlines():
        if not line.startswith(" "):
            metric = line
            continue
        method, mean, *values = line.split()
        rows.append(Row(method, metric, float(mean), tuple(map(float, values))))
    return tuple(rows)


_TABLE_1 = _rows("""
is
  DiffAug         1.58 1.59 1.72 1.34 1.19 1.96 1.67 2.07 1.58 1.53 1.10 1.93 1.33 1.34 2.05 1.30
  CDC             1.65 1.52 1.97 1.37 1.25 1.97 1.97 1.80 1.55 1.56 1.13 2.10 1.63 1.61 2.05 1.30
  Crop-P          1.51 1.43 1.74 1.23 1.17 2.00 1.74 1.47 1.56 1.49 1.12 1.83 1.30 1.39 1.95 1.23
  SDGAN           1.71 1.57 1.89 1.49 1.18 1.95 1.85 2.04 1.45 1.61 1.17 2.53 1.78 1.76 2.12 1.25
  DefGAN          1.69 1.39 1.70 1.59 1.24 2.01 1.87 2.12 1.47 1.61 1.19 2.35 1.85 1.47 2.19 1.25
  DFMGAN          1.72 1.62 1.96 1.59 1.23 1.97 1.93 2.06 1.49 1.63 1.12 2.39 1.82 1.64 2.12 1.29
  AnoDiff         1.80 1.58 2.13 1.59 1.16 2.04 2.13 1.94 1.96 1.61 1.28 2.54 1.68 1.57 2.33 1.39
  AnomalyXFusion  1.82 1.62 2.13 1.68 1.16 2.12 2.24 2.00 1.96 1.63 1.29 2.55 1.80 1.64 2.09 1.37
ic_lpips
  DiffAug         0.09 0.03 0.07 0.03 0.06 0.06 0.05 0.06 0.29 0.05 0.10 0.09 0.06 0.05 0.30 0.05
  CDC             0.07 0.04 0.19 0.06 0.03 0.07 0.05 0.07 0.04 0.06 0.11 0.12 0.06 0.13 0.03 0.05
  Crop-P          0.14 0.04 0.25 0.05 0.11 0.12 0.21 0.14 0.15 0.11 0.16 0.20 0.08 0.15 0.23 0.11
  SDGAN           0.13 0.06 0.19 0.03 0.11 0.10 0.16 0.12 0.28 0.07 0.10 0.21 0.03 0.13 0.25 0.10
  DefGAN          0.15 0.07 0.22 0.04 0.12 0.12 0.19 0.14 0.30 0.10 0.12 0.22 0.03 0.13 0.29 0.10
  DFMGAN          0.20 0.12 0.25 0.11 0.13 0.13 0.24 0.17 0.32 0.16 0.14 0.22 0.18 0.25 0.35 0.27
  AnoDiff         0.32 0.19 0.41 0.21 0.24 0.44 0.31 0.41 0.30 0.26 0.30 0.55 0.21 0.34 0.37 0.25
  AnomalyXFusion  0.33 0.19 0.42 0.20 0.22 0.45 0.33 0.42 0.34 0.27 0.29 0.52 0.22 0.36 0.38 0.26
""")
_TABLE_2 = _rows("""
is
  DFMGAN          1.27 1.21 1.33 1.12 1.17 1.02 1.14 1.34 1.49 1.18 1.72
  AnoDiff         1.44 1.28 1.49 1.21 1.25 1.08 1.31 1.67 1.73 1.35 1.98
  AnomalyXFusion  1.69 1.39 1.60 1.36 1.43 1.18 1.52 2.04 2.37 1.64 2.41
ic_lpips
  DFMGAN          0.22 0.24 0.23 0.13 0.13 0.23 0.24 0.20 0.21 0.33 0.23
  AnoDiff         0.28 0.29 0.27 0.18 0.16 0.37 0.30 0.26 0.25 0.40 0.27
  AnomalyXFusion  0.33 0.35 0.30 0.24 0.18 0.46 0.32 0.35 0.31 0.47 0.34
""")
_TABLE_3 = _rows("""
pixel_auroc
  DRAEM           92.2 96.7 80.3 76.2 92.6 99.1 98.8 98.5 96.9 95.8 91.0 98.5 93.8 76.5 98.8 93.4
  PRN             96.9 97.5 94.5 95.6 96.4 98.9 98.0 99.4 97.9 98.3 94.0 98.5 96.1 94.9 96.2 98.4
  DFMGAN          90.0 98.9 97.2 79.2 90.6 75.2 99.7 98.5 99.3 81.2 58.8 99.5 96.4 96.2 95.3 92.9
  AnoDiff         99.1 99.4 99.2 98.8 98.6 98.3 99.8 99.8 99.8 99.8 97.0 99.2 99.2 99.3 98.9 99.4
  AnomalyXFusion  99.3 99.6 97.3 98.4 99.1  100 99.5 99.8 99.8 99.7 98.1 99.9 99.6 99.9 98.6 99.4
pixel_ap
  DRAEM           54.1 80.2 21.8 25.5 43.0 59.3 73.6 67.6 84.2 45.3 30.1 93.2 29.5 31.7 87.8 65.4
  PRN             66.2 76.4 64.4 45.7 69.6 58.6 73.9 58.1 93.0 55.5 47.7 91.8 46.4 68.6 74.2 79.0
  DFMGAN          62.7 90.2 81.0 26.0 33.4 14.3 95.2 68.7 98.1 67.8  2.2 97.1 75.9 81.2 70.7 65.6
  AnoDiff         81.4 94.1 90.8 57.2 81.2 52.9 96.5 79.6 98.7 97.0 51.8 93.9 76.5 92.6 84.6 86.0
  AnomalyXFusion  86.1 96.7 79.8 57.6 84.6 97.3 90.9 91.7 99.0 96.1 30.4 99.0 90.4 98.5 92.2 87.8
pixel_f1_max
  DRAEM           53.1 74.0 28.3 32.1 41.9 58.7 68.5 65.0 74.5 53.0 35.7 87.8 28.4 24.2 80.9 64.7
  PRN             64.7 71.3 61.0 47.9 65.6 58.9 68.2 54.0 87.1 72.6 49.8 84.4 46.2 68.4 67.4 73.7
  DFMGAN          62.1 83.9 75.4 35.0 38.1 20.5 89.5 66.7 94.5 72.6  5.3 91.6 72.6 77.0 65.8 64.9
  AnoDiff         76.3 87.3 83.5 59.8 74.6 54.6 90.6 71.0 94.0 90.8 50.9 86.2 73.4 85.7 74.5 79.2
  AnomalyXFusion  80.6 90.5 73.2 53.1 76.6 91.0 82.8 82.6 95.0 89.0 38.3 94.6 84.0 93.1 85.3 79.2
image_auroc
  DRAEM           94.6 99.3 72.1 93.2 95.3 99.8  100  100 97.8 94.4 88.5  100 99.4 79.6  100  100
  PRN             91.6 94.9 86.3 84.9 92.6 96.6 93.6 99.1 97.8 88.8 84.1 91.1  100 88.2 77.5 98.7
  DFMGAN          87.2 99.3 95.9 92.8 67.9 73.0 99.9 99.9 99.3 68.7 22.3  100  100 90.8 98.4 99.7
  AnoDiff         99.2 99.8  100 99.7 96.7 98.4 99.8  100  100 98.0 96.8  100  100  100 98.4 99.9
  AnomalyXFusion  99.2  100 99.7 97.2 96.8  100 99.8  100  100 98.8 97.2  100  100  100 98.5  100
image_ap
  DRAEM           97.0 99.8 83.2 98.7 98.7 99.9  100  100 99.6 98.9 96.3  100 99.8 80.5  100  100
  PRN             96.6 98.4 92.0 95.8 97.8 98.9 96.0 99.7 99.5 97.8 94.7 96.9  100 88.9 92.7 99.7
  DFMGAN          94.8 99.8 97.8 98.5 87.9 90.4  100  100 99.8 91.7 64.7  100  100 92.5 99.4 99.9
  AnoDiff         99.7 99.9  100 99.9 98.8 99.5 99.9  100  100 99.6 97.9  100  100  100 99.4  100
  AnomalyXFusion  99.8  100 99.8 99.9 98.8  100 99.8  100  100 99.9 99.6  100  100  100 99.1  100
image_f1_max
  DRAEM           94.4 98.9 79.2 94.0 93.4 98.8  100  100 97.6 95.8 89.3  100 97.6 71.4  100  100
  PRN             92.4 94.1 84.0 94.3 92.1 95.0 94.1 97.6 96.9 93.2 87.2 89.3  100 84.0 86.7 97.6
  DFMGAN          94.7 97.7 93.8 94.5 87.3 85.4 99.0 99.2 99.2 91.4 85.3  100  100 88.9 98.8 99.4
  AnoDiff         98.7 98.9  100 98.7 94.3 98.7 98.9  100  100 97.0 95.5  100  100  100 98.8 99.4
  AnomalyXFusion  98.7  100 98.3 98.5 96.2  100 98.2  100 99.2 97.9 93.0  100  100  100 98.7  100
""")
_TABLE_4 = _rows("""
accuracy
  DiffAug        39.31 48.84 21.36 34.67 35.48 28.33 65.28 40.74 58.85 29.86 25.10 59.65 38.09 41.27 22.76
  CDC            35.06 38.76 39.06 28.89 25.27 35.83 54.86 43.38 48.44 21.88 32.92 48.54 29.76 28.57 14.63
  Crop-P         40.55 52.71 32.81 32.89 27.96 28.33 59.03 34.39 59.89 26.74 28.81 68.42 41.67 47.62 26.42
  SDGAN          32.43 48.84 21.88 30.22 21.50 30.83 43.75 38.10 44.27 20.49 26.75 42.69 32.14 30.95 21.54
  DefGAN         34.77 53.49 21.36 32.00 29.03 27.50 61.11 42.33 56.77 28.47 28.81 26.90 35.72 24.60 18.70
  DFMGAN         49.61 56.59 45.31 37.23 47.31 40.83 81.94 49.73 64.58 29.52 37.45 74.85 52.38 49.21 27.64
  AnoDiff        66.09 90.70 67.19 66.67 58.06 42.50 85.42 61.90 59.38 59.38 48.15 84.21 60.71 71.43 69.51
  AnomalyXFusion 74.70 93.35 71.00 71.33 68.97 69.32 89.75 67.78 66.88 67.50 50.27 89.01 76.43 82.71 81.46
""")
_TABLE_5 = _rows("""
accuracy
  DFMGAN         35.97 60.46 40.34 54.23 40.67 14.56 30.67 29.63 1.34 29.42 58.34
  AnoDiff        45.44 70.12 47.16 64.33 53.23 21.98 38.12 41.08 5.98 40.00 72.35
  AnomalyXFusion 50.95 76.00 50.00 72.00 60.34 29.00 40.00 47.00 6.38 46.00 82.76
""")

TABLES: Mapping[int, Table] = MappingProxyType(
    {
        1: Table(CATEGORIES, _TABLE_1),
        2: Table(LOCO, _TABLE_2),
        3: Table(CATEGORIES, _TABLE_3, decimals=1),
        4: Table(CLASSIFIED, _TABLE_4),
        5: Table(LOCO, _TABLE_5),
    }
)
"""1 and 2: quality of the images of MVTec AD and LOCO. 3: localisation and detection by a U-Net, MVTec AD. 4 and 5:
classification of the defect type by a ResNet-34."""


@dataclass(frozen=True)
class Ablation:
    """A row of Table 6: which parts are on, and the means over MVTec AD (accuracy in percent)."""

    text: bool
    mif: bool
    ddf: bool
    inception: float
    ic_lpips: float
    accuracy: float


TABLE_6 = (
    Ablation(False, False, False, 1.63, 0.23, 65.38),
    Ablation(True, False, False, 1.65, 0.26, 67.39),
    Ablation(True, True, False, 1.73, 0.29, 69.47),
    Ablation(True, False, True, 1.76, 0.28, 69.54),
    Ablation(True, True, True, 1.82, 0.33, 74.70),
)

WRONG_MEANS: Mapping[tuple[int, str, str], float] = MappingProxyType(
    {
        (1, OURS, "ic_lpips"): 0.32,
        (3, "DRAEM", "pixel_auroc"): 92.5,
        (3, "PRN", "pixel_auroc"): 97.0,
        (3, "DFMGAN", "pixel_auroc"): 90.6,
        (3, OURS, "pixel_auroc"): 99.2,
        (3, "DRAEM", "pixel_ap"): 55.9,
        (3, "PRN", "pixel_ap"): 66.9,
        (3, "DFMGAN", "pixel_ap"): 64.5,
        (3, "AnoDiff", "pixel_ap"): 82.2,
        (3, "DRAEM", "pixel_f1_max"): 54.5,
        (3, "PRN", "pixel_f1_max"): 65.1,
        (3, "DFMGAN", "pixel_f1_max"): 63.6,
        (3, "AnoDiff", "pixel_f1_max"): 77.1,
    }
)
"""Table, method and metric → the mean of the printed values, where the printed mean is another number. Of Table 3, it
is the pixel metrics of nearly all rows, by up to 1.8 points (AP of DRAEM and DFMGAN), and no image metric."""
