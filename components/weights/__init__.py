"""Every pretrained weight by name: where it comes from, how it is verified, what to do when it is missing.

``registry`` names → what is published and where it is kept · ``files`` the kinds of files and how they are fetched ·
``caches`` the folders of this machine · ``timm_table`` and ``open_clip_table`` what two libraries publish, ``asking``
how they are asked · ``lite0`` the embedded backbone. Importing this package loads neither torch nor a hub's client, and
only `Pretrained.fetch` ever downloads.
"""

from goodshot.components.weights.caches import cache_dir, file_sha256, forbid_downloads
from goodshot.components.weights.lite0 import (
    LITE0_MEAN,
    LITE0_STD,
    efficientnet_lite0_state_dict,
    load_efficientnet_lite0,
)
from goodshot.components.weights.registry import LISTED, Pretrained, Weight, require, resolve, weight

__all__ = [
    "LISTED",
    "LITE0_MEAN",
    "LITE0_STD",
    "Pretrained",
    "Weight",
    "cache_dir",
    "efficientnet_lite0_state_dict",
    "file_sha256",
    "forbid_downloads",
    "load_efficientnet_lite0",
    "require",
    "resolve",
    "weight",
]
