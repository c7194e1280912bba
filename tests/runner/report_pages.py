"""A small study's folder made by hand, with every artifact that a report may show."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import numpy as np

from goodshot.components.data.images import encode_png
from goodshot.components.data.sample import Sample
from goodshot.components.data.shards import write_split
from goodshot.components.prompts.ranking import Prompt, RankedPrompt, Ranking
from goodshot.runner.report import write_report
from goodshot.runner.results.record import CellRecord
from goodshot.runner.results.results import Results
from goodshot.runner.run.options import Options
from goodshot.runner.store.artifacts import Store, arrays_bytes
from goodshot.runner.study.settings import to_yaml, validate
from tests.conftest import TINY

AUROC = {"original": 0.7, "augmented": 0.75, "generated": 0.8}
EVIL = "a <script>alert(1)</script> with coin"


def row(category: str, seed: int, arm: str) -> dict[str, object]:
    generated = {"vq_weight": 1.0, "iterations": 4, "chosen_iteration": 2, "similarity": 0.5, "prompt": EVIL}
    kinds = {"prompt_kind": "best", "select": "text", "variance": "estimated", "detail": "none", "post_augment": "none"}
    return {
        "study": "tiny",
        "dataset": "demo",
        "category": category,
        "shots": "1",
        "support_seed": seed,
        "seed": seed,
        "arm": arm,
        "copies": 0 if arm == "original" else 2,
        "image_auroc": AUROC.get(arm, 0.7) + seed / 100,
        "pixel_auroc": 0.9,
        "aupro": 0.6,
        "detector": "patchcore-lite0",
        "backbone": "efficientnet_lite0",
        "image_size": 64,
        "n_test": 4,
        "device": "cpu",
        "commit": "abc",
        "versions": json.dumps({"torch": "2"}),
        **(generated | kinds if arm == "generated" else {}),
    }


def write_small_study(tmp_path: Path) -> Path:
    """Two categories, two seeds, three arms, with every artifact a report may show."""
    results, store = Results(str(tmp_path)), Store(str(tmp_path / "store"))
    rng = np.random.default_rng(0)
    cells = []
    for category in ("brick", "coin"):
        put_shared(store, category, rng, tmp_path)
        for seed in (0, 1):
            for arm in AUROC:
                fingerprint = f"{category}-{seed}-{arm}"
                results.append(fingerprint, {**row(category, seed, arm), "fingerprint": fingerprint}, [], [])
                masks = np.zeros((2, 16, 16), bool)
                masks[1, 4:8, 4:8] = True
                arrays = {"images": pixels(rng, 2), "masks": masks, "maps": rng.random((2, 16, 16)).astype(np.float16)}
                info = {"image_ids": ["test/good/0.png", "test/stain/0.png"]}
                store.put(f"maps/{fingerprint}", {"maps.safetensors": arrays_bytes(arrays)}, info)
                cells.append(asdict(record(fingerprint, category, arm, seed)))
    study = validate({**TINY, "dataset": {"name": "demo"}, "support_seeds": [0, 1]}, "tiny")
    results.files.write("studies/tiny.yaml", to_yaml(study).encode())
    results.files.write("studies/tiny.cells.json", json.dumps(cells).encode())
    return tmp_path


def pixels(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.integers(0, 255, (count, 16, 16, 3), dtype=np.uint8)


def record(fingerprint: str, category: str, arm: str, seed: int) -> CellRecord:
    own = arm == "generated"
    return CellRecord(
        fingerprint=fingerprint,
        category=category,
        arm=arm,
        seed=seed,
        shard=f"shard/{category}",
        support_ids=("train/good/0.png",),
        image_set=f"image_set/{category}" if own else None,
        has_maps=seed == 0,
        stages={f"shard/{category}": "shard"}
        | ({f"prompt/{category}": "prompt", f"image_set/{category}": "image_set"} if own else {}),
        trainings={f"generator/{category}-{seed}": "generator"} if own else {},
    )


def put_shared(store: Store, category: str, rng: np.random.Generator, tmp_path: Path) -> None:
    data = encode_png(pixels(rng, 1)[0])
    image_id = "train/good/0.png"
    file = tmp_path / image_id.replace("/", "-")
    file.write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    sample = Sample(image_id, "demo", category, "train", "good", 0, file, 16, 16, sha256)
    store.put(f"shard/{category}", {"train.arrow": lambda sink: write_split([sample], "train", sink)}, {})
    ranked = RankedPrompt(prompt=EVIL, word="coin", distance=1.1, cosine=0.4, kept=True)
    plain = Prompt(prompt="a coin", distance=1.2, cosine=0.3)
    ranking = Ranking(object_name="coin", encoder="conse", rows=(ranked,), only_word=plain, naive=plain)
    text = arrays_bytes({"best": np.array([1.0, 0.0], np.float32)})
    store.put(f"prompt/{category}", {"ranking.json": ranking.to_json().encode(), "embeddings.safetensors": text}, {})
    losses = {f"loss_{name}": np.array([1.0, 0.5, 0.2]) for name in LOSSES}
    trace = {"iterations": np.array([2, 4]), "embeddings": rng.random((2, 2, 2)).astype(np.float32), **losses}
    store.put(f"generator/{category}/trace", {"trace.safetensors": arrays_bytes(trace)}, {})
    info = {"iteration": 2, "generator": f"generator/{category}", "trace": "trace", "copies": 2}
    store.put(f"image_set/{category}", {"images.safetensors": arrays_bytes({"images": pixels(rng, 2)})}, info)


LOSSES = ("iteration", "total", "mse", "reconstruction", "perceptual", "codebook")


def page_of(out: Path) -> str:
    assert write_report(Options(str(out))) == f"{out}/report.html"
    return (out / "report.html").read_text()


def redeclare(out: Path, name: str, **fields: object) -> None:
    """Write the study's record anew under that name with some fields replaced."""
    study = validate({**TINY, "dataset": {"name": "demo"}, "support_seeds": [0, 1], "name": name, **fields}, name)
    (out / f"studies/{name}.yaml").write_text(to_yaml(study))
    (out / f"studies/{name}.cells.json").write_bytes((out / "studies/tiny.cells.json").read_bytes())


@dataclass
class ShownTable:
    """A table of a page: its caption, its headings and the texts of its cells."""

    title: str = ""
    head: list[str] = field(default_factory=list)
    lines: list[list[str]] = field(default_factory=list)
    marked: list[int] = field(default_factory=list)

    def column(self, title: str) -> list[str]:
        return [line[self.head.index(title)] for line in self.lines]


class _Tables(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[ShownTable] = []
        self.text: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.found.append(ShownTable())
        elif tag == "tr" and self.found and self.found[-1].head:
            self.found[-1].lines.append([])
            if ("class", "marked") in attrs:
                self.found[-1].marked.append(len(self.found[-1].lines) - 1)
        elif tag in ("caption", "th", "td"):
            self.text = []

    def handle_data(self, data: str) -> None:
        if self.text is not None:
            self.text.append(data)

    def handle_endtag(self, tag: str) -> None:
        if self.text is None or tag not in ("caption", "th", "td"):
            return
        table, text = self.found[-1], "".join(self.text).strip()
        self.text = None
        if tag == "caption":
            table.title = text
        else:
            (table.head if tag == "th" else table.lines[-1]).append(text)


def tables_of(page: str) -> dict[str, ShownTable]:
    """The tables of a page by their captions, also those that are folded."""
    parser = _Tables()
    parser.feed(without_scripts(page))
    return {table.title: table for table in parser.found}


def without_scripts(page: str) -> str:
    return re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


def charts_of(page: str) -> list[str]:
    """What the charts of a page show, in words."""
    return re.findall(r'role="img" aria-label="(.*?)"', page)
