"""Datasets: from a folder of photographs to arrays, with an identity that does not depend on where they lie.

`read_dataset` reads and verifies a category of any dataset and gives `Sample`s (metadata, no pixels); `verify`
lists everything that is wrong. `select_support` chooses
the originals a detector may see. `shards` writes a category's split as one Arrow file and decodes it into a
`Split` of arrays. `demo.write_demo` makes a small real dataset offline; `planting` paints its defects, `planted_set`
those that a search may look at. `supplied` reads the images that a user adds to a dataset's.

Nothing here imports torch: the driver imports this room.
"""

from components.data.datasets import (
    DATASETS,
    DatasetName,
    Report,
    categories_of,
    read_dataset,
    scan,
    verify,
)
from components.data.demo import DEMO_CATEGORIES, write_demo
from components.data.images import decode_mask, decode_rgb, encode_png
from components.data.layout import Finding
from components.data.loco import Defect, read_defects
from components.data.mvtec import list_categories
from components.data.planting import PLANTERS, Scene
from components.data.sample import GOOD, SPLITS, MaskFile, Sample, SplitName, category_fingerprint
from components.data.shards import (
    SCHEMA,
    Split,
    decode,
    decode_batches,
    decode_originals,
    defects_of,
    read_split,
    samples_of,
    write_split,
)
from components.data.support import Shots, select_support

__all__ = [
    "DATASETS",
    "DEMO_CATEGORIES",
    "GOOD",
    "PLANTERS",
    "SCHEMA",
    "SPLITS",
    "DatasetName",
    "Defect",
    "Finding",
    "MaskFile",
    "Report",
    "Sample",
    "Scene",
    "Shots",
    "Split",
    "SplitName",
    "categories_of",
    "category_fingerprint",
    "decode",
    "decode_batches",
    "decode_mask",
    "decode_originals",
    "decode_rgb",
    "defects_of",
    "encode_png",
    "list_categories",
    "read_dataset",
    "read_defects",
    "read_split",
    "samples_of",
    "scan",
    "select_support",
    "verify",
    "write_demo",
    "write_split",
]
