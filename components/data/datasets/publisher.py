"""The publisher, address and licence of a dataset, which a user has to see before a download.

Address and SHA-256 of each archive are those in anomalib 2.7's `DOWNLOAD_INFO`
(`anomalib/data/datamodules/image/mvtecad.py` and `btech.py`, `anomalib/data/datasets/image/mvtec_loco.py`).
"""

from dataclasses import dataclass

SHARE_ALIKE = (
    "you may share and adapt it if you name the authors and the licence, say what you changed, "
    "and pass on what you make from it under the same licence"
)


@dataclass(frozen=True)
class Licence:
    """A licence, a summary of its terms, and the address of its deed."""

    name: str
    notice: str
    deed: str


@dataclass(frozen=True)
class Publisher:
    """A dataset's publication. `size` is the archive's in bytes, None if it is not stated anywhere."""

    page: str
    url: str
    size: int | None
    sha256: str
    licence: Licence
    citation: str

    @property
    def file(self) -> str:
        """The archive's file name."""
        return self.url.rsplit("/", 1)[-1]
