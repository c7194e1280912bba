"""``goodshot doctor``: lists what this machine has and lacks, with a remedy for each; nothing is started.

# One finding a line: a machine's parts, Ray, caches, weights, WordNet, photographs, W&B.
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
from rich.markup import escape
from rich.table import Table

from components.data import datasets
from components.data.datasets import dataset_of
from components.data.datasets.dataset import Dataset
from components.download import readable
from components.errors import BadInput, GoodshotError
from components.prompts import object_for, open_wordnet
from components.weights import LISTED, cache_dir, weight
from components.weights.caches import hub_cache, torch_cache
from components.weights.files import InPackage
from components.weights.registry import WORDNET
from runner.machine.needs import needs_of
from runner.stages.need import Need
from runner.store.files import public
from runner.study.study import Study

State = Literal["here", "missing", "optional", "note"]
PACKAGES = ("ray", "torch", "accelerate", "open_clip_torch", "nltk", "anomalib", "wandb", "pyarrow")


@dataclass(frozen=True)
class Finding:
    """One checked item. ``missing`` prevents a study from running; ``optional`` and ``note`` do not."""

    area: str
    item: str
    state: State
    detail: str
    remedy: str = ""


def examine(study: Study | None = None) -> Iterator[Finding]:
    """Check area by area; of the weights those that the study needs, or all that have a name."""
    yield from _machine()
    yield from _packages()
    yield from _ray()
    yield from _caches()
    if study is not None:
        yield from _needs(study)
    else:
        # A separate area shows which WordNet is used.
        yield from (_weight(name) for name in LISTED if name != WORDNET)
        yield Finding(
            "weights", "open_clip:, timm:", "note", "a study's encoder and backbones", "goodshot doctor STUDY"
        )
    photographs, categories = _photographs(study) if study else (map(_dataset, datasets.DATASETS), ())
    yield from _wordnet(study, categories)
    yield from photographs
    yield _wandb()


def _machine() -> Iterator[Finding]:
    import torch

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cpus = len(os.sched_getaffinity(0))
    yield Finding("machine", "CPU", "here", f"{cpus} cores, {readable(memory)} of memory")
    if not torch.cuda.is_available():
        yield Finding(
            "machine", "GPU", "note", "none that torch can use", "small studies run on CPUs; preset: paper wants a GPU"
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
        yield Finding("Ray", "cluster", "here", "this machine alone, started for each run", "another: --address A")
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
            yield Finding("caches", name, "note", f"{folder} cannot be written", f"to fetch, set {variable}")


def _weight(name: str) -> Finding:
    found = weight(name)
    if not found.missing():
        return Finding("weights", name, "here", str(found.path))
    if isinstance(found.files[0], InPackage):
        return Finding("weights", name, "missing", found.what, found.remedy)
    size = readable(found.size) if found.size else "size unknown"
    return Finding("weights", name, "optional", f"{found.what}; {size}, {found.licence}", found.remedy)


def _needs(study: Study) -> Iterator[Finding]:
    try:
        found = needs_of(study)
    except BadInput as error:  # a detector that cannot be used
        yield Finding("weights", "the study", "missing", str(error), "correct the study")
        return
    # A separate area shows which WordNet is used.
    yield from (_need(need) for need in found if need.name != WORDNET)


def _need(need: Need) -> Finding:
    if not need.registered:
        try:
            need.check()
        except BadInput as error:
            return Finding("weights", need.name, "missing", str(error))
        return Finding("weights", need.name, "here", need.of)
    try:
        found = weight(need.name)
    except BadInput as error:  # a name without a published weight
        return Finding("weights", need.name, "missing", str(error), "correct the study")
    if not found.missing():
        return Finding("weights", need.name, "here", str(found.path))
    size = readable(found.size) if found.size else "size unknown"
    detail = f"{need.of}; {size}, {found.licence}" + (f"; {need.instead}" if need.instead else "")
    return Finding("weights", need.name, "optional" if need.instead else "missing", detail, found.remedy)


def _wordnet(study: Study | None, categories: Sequence[str]) -> Iterator[Finding]:
    source = study.prompt.wordnet if study else "auto"
    try:
        wordnet = open_wordnet(source)
        found = wordnet.source
    except GoodshotError as error:
        yield Finding("WordNet", source, "missing", str(error), "goodshot fetch wordnet")
        return
    whole = not found.startswith("extract")
    detail = "the whole of it" if whole else "the embedded extract around the named categories"
    yield Finding("WordNet", found, "here", detail, "" if whole else "for other objects: goodshot fetch wordnet")
    if study is None or not study.uses_text:
        return
    names = [object_for(category, study.objects) for category in categories]
    for name in dict.fromkeys(names):
        try:
            senses = wordnet.own_senses(name, study.prompt.senses, names)
            wordnet.words(name, study.prompt.hops, study.prompt.relations, senses)
        except GoodshotError as error:
            yield Finding("WordNet", name, "missing", str(error), "another noun: --set objects, or prompt.senses")


def _dataset(dataset: Dataset) -> Finding:
    """The state of a dataset if no study gives its folder."""
    state: State = "here" if dataset.write else "optional" if dataset.publisher else "note"
    remedy = f"goodshot fetch {dataset.name} --root DIR" if dataset.publisher else dataset.nothing_to_fetch
    return Finding("photographs", dataset.name, state, f"{dataset.title}; {dataset.licence}", remedy)


def _photographs(study: Study) -> tuple[list[Finding], tuple[str, ...]]:
    """The state of the study's photographs, and its categories as far as they are known."""
    from runner.data.catalogue import read_catalogue

    config, categories = study.dataset, study.categories
    dataset = dataset_of(config.name)
    if config.is_written_here:
        return [Finding("photographs", dataset.name, "here", dataset.source)], categories or dataset.categories
    if config.root is None:
        fetched = f"goodshot fetch {dataset.name} --root DIR, then " if dataset.publisher else ""
        remedy = f"{fetched}--set dataset.root=DIR"
        return [Finding("photographs", dataset.name, "missing", "dataset.root is not set", remedy)], categories
    try:
        found = read_catalogue(config, categories, Path())
    except GoodshotError as error:
        return [Finding("photographs", dataset.name, "missing", str(error))], categories
    images = sum(len(category.samples) for category in found.values())
    detail = f"{len(found)} categories, {images} images"
    return [Finding("photographs", dataset.name, "here", detail)], tuple(found)


def _wandb() -> Finding:
    from runner.machine.tracking_mode import tracking_mode

    mode = tracking_mode()
    if mode == "online":
        has_key = bool(os.environ.get("WANDB_API_KEY"))
        return Finding(
            "W&B", mode, "here", "a key is set" if has_key else "no WANDB_API_KEY: W&B's own login has to do"
        )
    return Finding("W&B", mode, "note", "runs are written locally" if mode == "offline" else mode, "set WANDB_API_KEY")


def print_findings(console: Console, findings: Iterable[Finding]) -> int:
    """Print the findings as a table; returns the number of missing things."""
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
            f"[{style}]{finding.state}[/]",
            escape(finding.detail),
            escape(finding.remedy),
        )
        area, missing = finding.area, missing + (finding.state == "missing")
    console.print(table, highlight=False)
    return missing


STYLES: dict[State, str] = {"here": "green", "missing": "bold red", "optional": "dim", "note": "yellow"}
