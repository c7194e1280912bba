"""MVTec LOCO AD: a folder of masks per image, one mask per defect, and the share of each that must be found.

    <root>/<category>/train/good/*.png    validation/good/*.png
    <root>/<category>/test/{good,logical_anomalies,structural_anomalies}/*.png
    <root>/<category>/ground_truth/<type>/<stem>/000.png …     the pixel value says which defect it is
    <root>/<category>/defects_config.json                      what each value means, and its saturation

Bergmann et al., "Beyond Dents and Scratches", IJCV 2022.
"""

from pathlib import Path

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from goodshot.components.config import Config
from goodshot.components.data.datasets.dataset import Dataset
from goodshot.components.data.datasets.mvtec_ad import MVTEC_LICENCE
from goodshot.components.data.datasets.publisher import Publisher
from goodshot.components.data.layout import Defects, Finding, Listing, images, inmost, subfolders
from goodshot.components.data.mvtec import Masks, category_folder, list_splits, mask_folders
from goodshot.components.data.sample import GOOD
from goodshot.components.errors import BadInput

CONFIG = "defects_config.json"
_KINDS = (GOOD, "logical_anomalies", "structural_anomalies")


class Defect(Config):
    """One kind of defect. If its saturation area of pixels is found, it counts as completely found (sPRO)."""

    defect_name: str
    pixel_value: int = Field(ge=1, le=255)
    saturation_threshold: float = Field(gt=0)
    relative_saturation: bool

    @model_validator(mode="after")
    def _relative_is_a_share(self) -> "Defect":
        if self.relative_saturation and self.saturation_threshold > 1:
            raise ValueError("a relative saturation_threshold is a share of the defect's area, at most 1")
        return self

    def saturation_area(self, defect_area: int) -> int:
        """Returns how many of a defect's `defect_area` pixels have to be found for an overlap of 1."""
        if self.relative_saturation:
            return int(self.saturation_threshold * defect_area)
        return min(int(self.saturation_threshold), defect_area)


def read_defects(root: Path, category: str) -> dict[int, Defect]:
    """Returns pixel value -> defect, as described by `defects_config.json`.

    Raises:
        BadInput: the file is missing, is invalid, or has one value twice.
    """
    path = category_folder(root, category) / CONFIG
    try:
        found = TypeAdapter(list[Defect]).validate_json(path.read_bytes())
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}); copy it from the dataset") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadInput(f"{path}: {where} {first['msg']}; copy the file again") from error
    by_value = {defect.pixel_value: defect for defect in found}
    if len(by_value) != len(found):
        raise BadInput(f"{path}: contains a pixel_value twice; copy the file again")
    return by_value


def list_category(root: Path, category: str) -> Listing:
    """Returns the category's listing; validation images are a split of their own.

    Raises:
        BadInput: there is no such category, or a folder cannot be listed.
    """
    folder = category_folder(root, category)
    findings: list[Finding] = []
    try:
        defects: Defects = {value: d.saturation_area for value, d in read_defects(root, category).items()}
    except BadInput as error:
        defects, findings = dict.fromkeys(range(1, 256)), [_config_finding(folder, error)]
    return list_splits(folder, _masks(folder), _KINDS, more=("validation",), defects=defects, findings=findings)


def _masks(folder: Path) -> Masks:
    kinds = mask_folders(folder, _KINDS).items()
    return {(kind, stem.name): tuple(images(inmost(stem))) for kind, path in kinds for stem in subfolders(path)}


def _config_finding(folder: Path, error: BadInput) -> Finding:
    problem, _, remedy = str(error).removeprefix(f"{folder / CONFIG}: ").partition("; ")
    return Finding("broken" if (folder / CONFIG).exists() else "missing", folder / CONFIG, problem, remedy)


# The head noun of each category name, because of these compounds WordNet has only pushpin.
_OBJECTS = {
    "breakfast_box": "box",
    "juice_bottle": "bottle",
    "pushpins": "pushpin",
    "screw_bag": "bag",
    "splicing_connectors": "connector",
}

MVTEC_LOCO = Dataset(
    name="mvtec_loco",
    title="MVTec LOCO AD",
    source="MVTec LOCO AD, Bergmann et al., IJCV 2022",
    licence="CC BY-NC-SA 4.0: non-commercial",
    list_category=list_category,
    recognises=lambda folder: (folder / CONFIG).is_file(),
    categories=tuple(_OBJECTS),
    objects=_OBJECTS,
    publisher=Publisher(
        page="https://www.mvtec.com/company/research/datasets/mvtec-loco/downloads",
        url="https://www.mydrive.ch/shares/48237/1b9106ccdfbb09a0c414bd49fe44a14a/"
        "download/430647091-1646842701/mvtec_loco_anomaly_detection.tar.xz",
        size=None,
        sha256="9e7c84dba550fd2e59d8e9e231c929c45ba737b6b6a6d3814100f54d63aae687",
        licence=MVTEC_LICENCE,
        citation="Bergmann, Batzner, Fauser, Sattlegger, Steger: Beyond Dents and Scratches: Logical Constraints in "
        "Unsupervised Anomaly Detection and Localization, IJCV 130, 2022, doi:10.1007/s11263-022-01578-9",
    ),
)
