"""Datasets: from a folder of photographs to arrays, with an identity that does not depend on the folder's path.

`datasets` describes each dataset in a file of its own. `read_dataset` reads and verifies a category of any of
them and gives `Sample`s (metadata, no pixels); `verify` lists all problems of the files. `select_support` chooses the
originals a detector may see. `shards` writes a category's split as one Arrow file and decodes it into a `Split` of
arrays. `write_demo` makes a small real dataset offline; `planting` paints its synthetic anomalies, `planted_set` those
that a search may use. `supplied` reads the images that a user adds to a dataset's.

Nothing in this package imports torch, because the driver imports it.
"""

from goodshot.components.data.checking import Report
from goodshot.components.data.datasets import dataset_names, dataset_of
from goodshot.components.data.datasets.dataset import Dataset
from goodshot.components.data.datasets.demo import DEMO_CATEGORIES, write_demo
from goodshot.components.data.datasets.mvtec_loco import Defect, read_defects
from goodshot.components.data.images import decode_mask, decode_rgb, encode_png
from goodshot.components.data.layout import Finding
from goodshot.components.data.mvtec import list_categories
from goodshot.components.data.planting import PLANTERS, Scene
from goodshot.components.data.reading import read_dataset, verify
from goodshot.components.data.sample import GOOD, SPLITS, MaskFile, Sample, SplitName, category_fingerprint
from goodshot.components.data.shards import (
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
from goodshot.components.data.support import Shots, select_support

__all__ = [
    "DEMO_CATEGORIES",
    "GOOD",
    "PLANTERS",
    "SCHEMA",
    "SPLITS",
    "Dataset",
    "Defect",
    "Finding",
    "MaskFile",
    "Report",
    "Sample",
    "Scene",
    "Shots",
    "Split",
    "SplitName",
    "category_fingerprint",
    "dataset_names",
    "dataset_of",
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
    "select_support",
    "verify",
    "write_demo",
    "write_split",
]
