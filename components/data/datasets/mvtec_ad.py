"""MVTec AD: fifteen objects and textures, in the layout named after it (`goodshot.components.data.mvtec`)."""

from goodshot.components.data.datasets.dataset import Dataset
from goodshot.components.data.datasets.publisher import SHARE_ALIKE, Licence, Publisher
from goodshot.components.data.layout import folder_in, namesakes
from goodshot.components.data.sample import GOOD

MVTEC_LICENCE = Licence(
    "CC BY-NC-SA 4.0",
    f"{SHARE_ALIKE}; commercial use is not allowed, for that ask MVTec Software GmbH",
    "https://creativecommons.org/licenses/by-nc-sa/4.0/",
)
_OBJECTS = {
    "bottle": "bottle",
    "cable": "cable",
    "capsule": "capsule",
    "carpet": "carpet",
    "grid": "grid",
    "hazelnut": "hazelnut",
    "leather": "leather",
    "metal_nut": "nut",
    "pill": "pill",
    "screw": "screw",
    "tile": "tile",
    "toothbrush": "toothbrush",
    "transistor": "transistor",
    "wood": "wood",
    "zipper": "zipper",
}

MVTEC_AD = Dataset(
    name="mvtec_ad",
    title="MVTec AD",
    source="MVTec AD, Bergmann et al., CVPR 2019",
    licence="CC BY-NC-SA 4.0: non-commercial",
    recognises=lambda folder: (
        bool(namesakes(folder_in(folder, "train"), GOOD)) and not (folder / "defects_config.json").is_file()
    ),
    categories=tuple(_OBJECTS),
    objects=_OBJECTS,
    publisher=Publisher(
        page="https://www.mvtec.com/company/research/datasets/mvtec-ad/downloads",
        url="https://www.mydrive.ch/shares/150996/b52ecdcbf521176e9db9c731f2304b27/"
        "download/420938113-1629960298/mvtec_anomaly_detection.tar.xz",
        size=5_264_982_680,
        sha256="cf4313b13603bec67abb49ca959488f7eedce2a9f7795ec54446c649ac98cd3d",
        licence=MVTEC_LICENCE,
        citation="Bergmann, Fauser, Sattlegger, Steger: MVTec AD – A Comprehensive Real-World Dataset for "
        "Unsupervised Anomaly Detection, CVPR 2019, doi:10.1109/CVPR.2019.00982; and Bergmann, Batzner, Fauser, "
        "Sattlegger, Steger, IJCV 129(4), 2021, doi:10.1007/s11263-020-01400-4",
    ),
)
