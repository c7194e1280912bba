"""The two flavours of an experiment of the paper: its setting on a user's datasets, and minutes on what is embedded.

Where the paper says nothing, an experiment declares one shot, three supports (14 where a gain is to be claimed:
``--set 'support_seeds=[0,1,2,3,4,5,6,7,8,9,10,11,12,13]'``), λ = 1, L = 100, 20 images, and plain augmentation as the
control. Equal values in all of them let one store serve every experiment: a training is made once.
"""

from __future__ import annotations

from typing import Any

from goodshot.runner.study.study import Study

COIN = (
    "This image displays a single ancient coin with a worn relief. Its grey metal is rough and rounded, and traces of "
    "a figure are visible. It rests against a dark background."
)
"""Our caption of the embedded coin, in place of the paper's caption of its hazelnut."""

_QUICK: dict[str, Any] = {
    "dataset": {"name": "demo"},
    "categories": ["coin"],
    "support_seeds": [0],
    "copies": [4],
    "iterations": [20],
    "score_every": 5,
    "generator": {"resolution": 64, "originals_per_step": 1},
    "vqgan_clip": {"iterations": 5, "cutouts": 4},
    "detectors": [{"image_size": 64}],
}
_QUESTION = {"cells", "arms", "prompt_kind", "select", "variance", "shots", "objective"}
"""The fields that decide what an experiment asks: its quick flavour has them too."""


def paper(name: str, title: str, **fields: Any) -> Study:
    """A study in the paper's setting, as far as the paper states it (``preset: paper``)."""
    return Study.model_validate({"name": name, "title": title, "preset": "paper", **fields})


def quick(study: Study, **fields: Any) -> Study:
    """The same question in seconds to minutes on two CPU cores: the embedded weights, one embedded photograph.

    The small generator, its few iterations and the small images say nothing about the method; they show that everything
    of the experiment runs, and what its report will look like.
    """
    asked = study.model_dump(mode="json", include=_QUESTION)
    own: dict[str, Any] = {"name": f"{study.name}_quick", "title": f"{study.title} (quick flavour)"}
    if study.prompt.caption is not None:
        own |= {"prompt": {"caption": COIN}}
    return Study.model_validate({**_QUICK, **asked, **own, **fields})
