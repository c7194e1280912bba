"""BTAD: three industrial products, in MVTec AD's layout with `ok` for the normal images and `ko` for the defects."""

from functools import partial

from goodshot.components.data import mvtec
from goodshot.components.data.datasets.dataset import Dataset
from goodshot.components.data.datasets.publisher import SHARE_ALIKE, Licence, Publisher
from goodshot.components.data.layout import folder_in, namesakes

# BTAD numbers its products without names. These names are ours, chosen by the products' appearance (a round part,
# a striped flat surface, a round part with a hole); a study can override them.
_OBJECTS = {"01": "disk", "02": "panel", "03": "ring"}

BTAD = Dataset(
    name="btad",
    title="BTAD (beanTech anomaly detection)",
    source="BTAD, Mishra et al., ISIE 2021",
    licence="CC BY-SA 4.0 by its authors' repository, CC BY-NC-SA 4.0 by others: ask before commercial use",
    list_category=partial(mvtec.list_category, normal="ok", defective=("ko",)),
    recognises=lambda folder: bool(namesakes(folder_in(folder, "train"), "ok")),
    categories=tuple(_OBJECTS),
    objects=_OBJECTS,
    publisher=Publisher(
        page="https://github.com/pankajmishra000/VT-ADL",
        url="https://avires.dimi.uniud.it/papers/btad/btad.zip",
        size=None,
        sha256="461c9387e515bfed41ecaae07c50cf6b10def647b36c9e31d239ab2736b10d2a",
        # The authors' repository says CC BY-SA; anomalib and others say CC BY-NC-SA.
        licence=Licence(
            "CC BY-SA 4.0",
            f"{SHARE_ALIKE}; so says the authors' repository, while others list it as non-commercial "
            "(CC BY-NC-SA 4.0): ask the authors before commercial use",
            "https://creativecommons.org/licenses/by-sa/4.0/",
        ),
        citation="Mishra, Verk, Fornasier, Piciarelli, Foresti: VT-ADL: A Vision Transformer Network for Image "
        "Anomaly Detection and Localization, ISIE 2021",
    ),
)
