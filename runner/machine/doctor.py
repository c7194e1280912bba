"""``goodshot doctor``: check this machine and list what it has and what it lacks, with a remedy for each.

Each finding is one line, by area: machine, packages, Ray, caches, weights, WordNet, photographs, W&B. Nothing is
started or downloaded.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from goodshot.components.data import datasets
from goodshot.components.data.datasets import dataset_of
from goodshot.components.data.datasets.dataset import Dataset
from goodshot.components.download import readable
from goodshot.components.errors import BadInput, GoodshotError
from goodshot.components.prompts import note_on, object_for, open_wordnet, words_of
from goodshot.components.weights import LISTED, cache_dir, weight
from goodshot.components.weights.caches import hub_cache, torch_cache
from goodshot.components.weights.files import InPackage
from goodshot.components.weights.registry import WORDNET
from goodshot.runner.machine.needs import needs_of
from goodshot.runner.stages.need import Need
from goodshot.runner.store.files import public
from goodshot.runner.study.study import Study

State = Literal["here", "missing", "faulty", "optional", "note"]
PACKAGES = ("ray", "torch", "accelerate", "open_clip_torch", "nltk", "anomalib", "wandb", "pyarrow")


@dataclass(frozen=True)
class Finding:
    """One checked item. ``missing`` and ``faulty`` prevent a study from running; ``optional`` and ``note`` do not."""

    area: str
    item: str
    state: State
    detail: str
    remedy: str = ""

    @property
    def is_fault(self) -> bool:
        """Whether the finding prevents a study from running."""
        return self.state in ("missing", "faulty")


def examine(studies: Sequence[Study] = ()) -> Iterator[Finding]:
    """Check the machine area by area: for the needs of studies, or else for all weights and datasets with a name."""
    yield from _machine()
    yield from _packages()
    yield from _ray()
    yield from _caches()
    if studies:
        yield from dict.fromkeys(finding for study in studies for finding in study_weights(study))
    else:
        # WordNet has an area of its own.
        yield from (_weight_finding(name) for name in LISTED if name != WORDNET)
        yield Finding(
            "weights", "open_clip:, timm:", "note", "a study's encoder and backbones", "goodshot doctor STUDY"
        )
    if studies:
        found = [(study, *_photographs(study)) for study in studies]
        yield from dict.fromkeys(finding for study, _, own in found for finding in _wordnet(study, own))
        yield from dict.fromkeys(finding for _, findings, _ in found for finding in findings)
    else:
        yield from _wordnet(None, ())
        yield from map(_dataset_finding, datasets.DATASETS)
    yield _wandb()


def _machine() -> Iterator[Finding]:
    import torch

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cpus = len(os.sched_getaffinity(0))
    yield Finding("machine", "CPU", "here", f"{cpus} cores, {readable(memory)} of memory")
    if not torch.cuda.is_available():
        yield Finding(
            "machine",
            "GPU",
            "note",
            "none that torch can use",
            "small studies run on CPUs; preset: paper is meant for a GPU",
        )
    for number in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(number)
        yield Finding("machine", f"GPU {number}", "here", f"{properties.name}, {readable(properties.total_memory)}")


def _packages() -> Iterator[Finding]:
    installed = []
    for name in PACKAGES:
        try:
            installed.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            yield Finding("packages", name, "missing", "not installed", f"pip install {name}")
    yield Finding("packages", "installed", "here", ", ".join(installed))


def _ray() -> Iterator[Finding]:
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        yield Finding("Ray", "cluster", "here", "on this machine, started for each run", "for another: --address A")
        return
    secret = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    yield Finding("Ray", "cluster", "here", f"RAY_ADDRESS {public(address)}")
    if os.environ.get("RAY_AUTH_MODE") == "token" and secret:
        yield Finding("Ray", "token", "here", "set")
    else:
        yield Finding("Ray", "token", "note", "none is set", "export RAY_AUTH_MODE=token and the cluster's token")


def _caches() -> Iterator[Finding]:
    for name, folder, variable in (
        ("goodshot", cache_dir(), "GOODSHOT_CACHE"),
        ("hub", hub_cache(), "HF_HOME"),
        ("torch", torch_cache(), "TORCH_HOME"),
    ):
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        free = f"{readable(shutil.disk_usage(existing).free)} free"
        if os.access(existing, os.W_OK):
            yield Finding("caches", name, "here", f"{folder}, {free}")
        else:
            yield Finding("caches", name, "note", f"{folder} cannot be written", f"to fetch weights, set {variable}")


def _weight_finding(name: str) -> Finding:
    """Check a weight of the registry when no study is given."""
    pretrained = weight(name)
    if not pretrained.missing():
        return Finding("weights", name, "here", str(pretrained.path))
    if isinstance(pretrained.files[0], InPackage):
        return Finding("weights", name, "missing", pretrained.what, pretrained.remedy)
    size = readable(pretrained.size) if pretrained.size else "size unknown"
    detail = f"{pretrained.what}; {size}, {pretrained.licence}"
    return Finding("weights", name, "optional", detail, pretrained.remedy)


def study_weights(study: Study) -> Iterator[Finding]:
    """Check the weights that a study needs."""
    try:
        needs = needs_of(study)
    except BadInput as error:  # a detector that cannot be used
        yield Finding("weights", "the study", "missing", str(error), "correct the study")
        return
    # WordNet has an area of its own.
    yield from (_need_finding(need) for need in needs if need.name != WORDNET)


def _need_finding(need: Need) -> Finding:
    if not need.registered:
        try:
            need.check()
        except BadInput as error:
            return Finding("weights", need.name, "missing", str(error))
        return Finding("weights", need.name, "here", need.of)
    try:
        pretrained = weight(need.name)
    except BadInput as error:  # a name without a published weight
        return Finding("weights", need.name, "missing", str(error), "correct the study")
    if not pretrained.missing():
        return Finding("weights", need.name, "here", str(pretrained.path))
    size = readable(pretrained.size) if pretrained.size else "size unknown"
    detail = f"{need.of}; {size}, {pretrained.licence}" + (f"; {need.instead}" if need.instead else "")
    return Finding("weights", need.name, "optional" if need.instead else "missing", detail, pretrained.remedy)


def _wordnet(study: Study | None, categories: Sequence[str]) -> Iterator[Finding]:
    """Check which WordNet is used, and whether it has the objects of the study's categories."""
    declared_source = study.prompt.wordnet if study else "auto"
    try:
        wordnet = open_wordnet(declared_source)
    except GoodshotError as error:
        yield Finding("WordNet", declared_source, "missing", str(error), "goodshot fetch wordnet")
        return
    yield Finding("WordNet", wordnet.source, "here", "all its nouns")
    if study is None or not study.uses_text:
        return
    names = [object_for(category, study.objects) for category in categories]
    for name in dict.fromkeys(names):
        try:
            words_of(name, study.prompt, wordnet, names)
            if note := note_on(name, study.prompt, wordnet):
                yield Finding("WordNet", name, "note", note)
        except GoodshotError as error:
            yield Finding(
                "WordNet", name, "missing", str(error), "use another noun: --set objects=…, or --set prompt.senses=…"
            )


def _dataset_finding(dataset: Dataset) -> Finding:
    """Return the state of a dataset when no study names its folder."""
    state: State = "here" if dataset.write else "optional" if dataset.publisher else "note"
    remedy = f"goodshot fetch {dataset.name} --root DIR" if dataset.publisher else dataset.nothing_to_fetch
    return Finding("photographs", dataset.name, state, f"{dataset.title}; {dataset.licence}", remedy)


def _photographs(study: Study) -> tuple[list[Finding], tuple[str, ...]]:
    """Check the study's photographs; return the findings, and the study's categories as far as they are known."""
    from goodshot.runner.data.catalogue import read_catalogue

    config, categories = study.dataset, study.categories
    dataset = dataset_of(config.name)
    if config.is_written_here:
        return [Finding("photographs", dataset.name, "here", dataset.source)], categories or dataset.categories
    if config.root is None:
        fetch_first = f"goodshot fetch {dataset.name} --root DIR, then " if dataset.publisher else ""
        remedy = f"{fetch_first}--root {dataset.name}=DIR"
        return [Finding("photographs", dataset.name, "missing", "no folder is given", remedy)], categories
    try:
        catalogue = read_catalogue(config, categories, Path())
    except GoodshotError as error:
        return [Finding("photographs", dataset.name, "missing", str(error))], categories
    images = sum(len(category.samples) for category in catalogue.values())
    detail = f"{len(catalogue)} categories, {images} images"
    return [Finding("photographs", dataset.name, "here", detail)], tuple(catalogue)


def _wandb() -> Finding:
    from goodshot.runner.machine.tracking_mode import tracking_mode

    try:
        mode = tracking_mode()
    except BadInput as error:
        return Finding("W&B", "WANDB_MODE", "missing", str(error), "export WANDB_MODE=offline")
    if mode == "online":
        has_key = bool(os.environ.get("WANDB_API_KEY"))
        return Finding("W&B", mode, "here", "a key is set" if has_key else "no WANDB_API_KEY: W&B's own login is used")
    return Finding("W&B", mode, "note", "runs are written locally" if mode == "offline" else mode, "set WANDB_API_KEY")


def print_findings(console: Console, findings: Iterable[Finding]) -> int:
    """Print the findings as a table, and return the number of those that prevent a study from running."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("", "", "", "what", "remedy"):
        table.add_column(column, no_wrap=column == "", overflow="fold")
    area, missing = "", 0
    for finding in findings:
        if area and finding.area != area:
            table.add_section()
        style = STYLES[finding.state]
        table.add_row(
            finding.area if finding.area != area else "",
            finding.item,
            Text(finding.state, style),
            finding.detail,
            finding.remedy,
        )
        area, missing = finding.area, missing + finding.is_fault
    console.print(table, highlight=False)
    return missing


STYLES: dict[State, str] = {
    "here": "green",
    "missing": "bold red",
    "faulty": "bold red",
    "optional": "dim",
    "note": "yellow",
}
