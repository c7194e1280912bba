"""Who publishes a dataset, where, under which licence: what a user has to know before it is downloaded.

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
    """A licence, what it allows in short, and its deed."""

    name: str
    notice: str
    deed: str


@dataclass(frozen=True)
class Publisher:
    """Where a dataset is published. `size` is that of the archive in bytes, None where nobody states it."""

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
