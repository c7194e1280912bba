"""Who publishes a dataset, where, under which licence: what a user has to know before it is downloaded.

Address and SHA-256 of each archive are those in anomalib 2.7's `DOWNLOAD_INFO`
(`anomalib/data/datamodules/image/mvtecad.py` and `btech.py`, `anomalib/data/datasets/image/mvtec_loco.py`).
"""

from dataclasses import dataclass

from components.data.datasets import dataset
from components.errors import BadInput


@dataclass(frozen=True)
class Licence:
    """A licence, what it allows in short, and its deed."""

    name: str
    notice: str
    deed: str


@dataclass(frozen=True)
class Publisher:
    """A published dataset. `size` is that of the archive in bytes, None where nobody states it."""

    title: str
    page: str
    url: str
    size: int | None
    sha256: str
    licence: Licence
    citation: str
    categories: tuple[str, ...]

    @property
    def file(self) -> str:
        """The archive's file name."""
        return self.url.rsplit("/", 1)[-1]


_TERMS = (
    "you may share and adapt it if you name the authors and the licence, say what you changed, "
    "and pass on what you make from it under the same licence"
)
_MVTEC_LICENCE = Licence(
    "CC BY-NC-SA 4.0",
    f"{_TERMS}; commercial use is not allowed, for that ask MVTec Software GmbH",
    "https://creativecommons.org/licenses/by-nc-sa/4.0/",
)
# The authors' repository says CC BY-SA; anomalib and others say CC BY-NC-SA.
_BTAD_LICENCE = Licence(
    "CC BY-SA 4.0",
    f"{_TERMS}; so says the authors' repository, while others list it as non-commercial (CC BY-NC-SA 4.0): "
    "ask the authors before commercial use",
    "https://creativecommons.org/licenses/by-sa/4.0/",
)

PUBLISHERS = {
    "mvtec_ad": Publisher(
        title="MVTec AD",
        page="https://www.mvtec.com/company/research/datasets/mvtec-ad/downloads",
        url="https://www.mydrive.ch/shares/150996/b52ecdcbf521176e9db9c731f2304b27/"
        "download/420938113-1629960298/mvtec_anomaly_detection.tar.xz",
        size=5_264_982_680,
        sha256="cf4313b13603bec67abb49ca959488f7eedce2a9f7795ec54446c649ac98cd3d",
        licence=_MVTEC_LICENCE,
        citation="Bergmann, Fauser, Sattlegger, Steger: MVTec AD – A Comprehensive Real-World Dataset for "
        "Unsupervised Anomaly Detection, CVPR 2019, doi:10.1109/CVPR.2019.00982; and Bergmann, Batzner, Fauser, "
        "Sattlegger, Steger, IJCV 129(4), 2021, doi:10.1007/s11263-020-01400-4",
        categories=(
            *("bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut", "pill", "screw"),
            *("tile", "toothbrush", "transistor", "wood", "zipper"),
        ),
    ),
    "mvtec_loco": Publisher(
        title="MVTec LOCO AD",
        page="https://www.mvtec.com/company/research/datasets/mvtec-loco/downloads",
        url="https://www.mydrive.ch/shares/48237/1b9106ccdfbb09a0c414bd49fe44a14a/"
        "download/430647091-1646842701/mvtec_loco_anomaly_detection.tar.xz",
        size=None,
        sha256="9e7c84dba550fd2e59d8e9e231c929c45ba737b6b6a6d3814100f54d63aae687",
        licence=_MVTEC_LICENCE,
        citation="Bergmann, Batzner, Fauser, Sattlegger, Steger: Beyond Dents and Scratches: Logical Constraints in "
        "Unsupervised Anomaly Detection and Localization, IJCV 130, 2022, doi:10.1007/s11263-022-01578-9",
        categories=("breakfast_box", "juice_bottle", "pushpins", "screw_bag", "splicing_connectors"),
    ),
    "btad": Publisher(
        title="BTAD (beanTech anomaly detection)",
        page="https://github.com/pankajmishra000/VT-ADL",
        url="https://avires.dimi.uniud.it/papers/btad/btad.zip",
        size=None,
        sha256="461c9387e515bfed41ecaae07c50cf6b10def647b36c9e31d239ab2736b10d2a",
        licence=_BTAD_LICENCE,
        citation="Mishra, Verk, Fornasier, Piciarelli, Foresti: VT-ADL: A Vision Transformer Network for Image "
        "Anomaly Detection and Localization, ISIE 2021",
        categories=("01", "02", "03"),
    ),
}

_NOTHING_TO_FETCH = {
    "demo": "its photographs ship with the installation; run: goodshot demo",
    "folder": "it is a folder of your own; name it as dataset.root of a study, or to 'goodshot shard folder --root'",
}


def publisher_of(name: str) -> Publisher:
    """Returns the dataset's publisher. Raises BadInput for a name that is no dataset, or one that nobody publishes."""
    dataset(name)
    if name not in PUBLISHERS:
        raise BadInput(f"{name}: there is nothing to fetch: {_NOTHING_TO_FETCH[name]}")
    return PUBLISHERS[name]
