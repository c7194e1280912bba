"""The demo dataset: real photographs and synthetic anomalies, written in MVTec AD's layout, offline.

`brick` and `gravel` are textures, `coin` is an object. The images are small and few, so that the whole
pipeline runs in minutes on two cores, and the anomalies are too subtle to be found from one normal image alone:
PatchCore on EfficientNet-Lite0 at 128 px reaches these image AUROCs (mean of all 16 one-image supports):

    brick 0.87    coin 0.79    gravel 0.83
"""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from goodshot.components.data import photographs
from goodshot.components.data.datasets.dataset import Dataset
from goodshot.components.data.images import RGB, encode_png
from goodshot.components.data.masks import Mask
from goodshot.components.data.planting import PLANTERS, Scene
from goodshot.components.data.sample import GOOD, SplitName
from goodshot.components.errors import BadInput

DEMO_CATEGORIES = ("brick", "coin", "gravel")
RECIPE_VERSION = 1
"""Increase it with every change of this file, `photographs` or `planting` that changes a byte of the demo."""

TRAIN_GOOD = 16
TEST_GOOD = 12
TEST_DEFECTS = 4
"""Number of images of each defect type."""

_RECIPE_FILE = "recipe.json"
_LICENSE = """\
The images in this folder are crops of photographs that ship with scikit-image, tinted and relit; those under
test/<defect> are modified further, with the modified pixels marked in ground_truth/. Sources, as scikit-image
states them:

brick    CC0Textures, "Bricks25": Creative Commons CC0.
gravel   CC0Textures, "Gravel04": Creative Commons CC0.
coin     "Greek coins from Pompeii", Brooklyn Museum Collection: no known copyright restrictions.
foreign  pieces of "Coffee cup" (courtesy of Pikolo Espresso Bar), CC0 by the photographer, Rachel Michetti,
         and of "Chelsea the cat", CC0 by the photographer, Stefan van der Walt.
"""


@dataclass(frozen=True)
class Shot:
    """One rendered image before an anomaly is painted on it."""

    image: RGB
    scene: Scene


def write_demo(out: Path, seed: int = 0) -> Path:
    """Writes the demo dataset as the folder `out` and returns it; `read_dataset("demo", out, category)` reads it.

    The same seed gives the same bytes. The folder appears complete or not at all, and a complete one of the
    same recipe and seed is not changed, so that several processes may call this at once.

    Raises:
        BadInput: `out` exists and is something else, or cannot be written.
    """
    if _is_complete(out, seed):
        return out
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(f"{out}: is not this demo (recipe {RECIPE_VERSION}, seed {seed}); remove it or choose another")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch_folder:
            _publish(_write(Path(scratch_folder) / "demo", seed), out, seed)
    except OSError as error:
        raise BadInput(f"{out}: cannot be written ({error.strerror}); choose another folder") from error
    return out


def _is_complete(out: Path, seed: int) -> bool:
    try:
        recipe = json.loads((out / _RECIPE_FILE).read_text())
    except (OSError, ValueError):
        return False
    return bool(recipe == _recipe(seed))


def _recipe(seed: int) -> dict[str, int]:
    return {"recipe_version": RECIPE_VERSION, "seed": seed}


def _publish(written: Path, out: Path, seed: int) -> None:
    try:
        written.rename(out)
    except OSError:
        # Another process was first: its folder holds the same bytes.
        if not _is_complete(out, seed):
            raise


def _write(root: Path, seed: int) -> Path:
    for number, category in enumerate(DEMO_CATEGORIES):
        rng = np.random.default_rng([seed, number])
        for path, data in _files(category, rng):
            target = root / category / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
    (root / "LICENSE.txt").write_text(_LICENSE)
    (root / _RECIPE_FILE).write_text(json.dumps(_recipe(seed)) + "\n")
    return root


def _files(category: str, rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    """Yields (path in the category's folder, bytes) of every image and mask."""
    for i, shot in enumerate(shots(category, "train", TRAIN_GOOD, rng)):
        yield f"train/{GOOD}/{i:03d}.png", encode_png(shot.image)
    for i, shot in enumerate(shots(category, "test", TEST_GOOD, rng)):
        yield f"test/{GOOD}/{i:03d}.png", encode_png(shot.image)
    defects = [(kind, i) for i in range(TEST_DEFECTS) for kind in PLANTERS]
    for (kind, i), shot in zip(defects, shots(category, "test", len(defects), rng), strict=True):
        defective, mask = plant(kind, shot, rng)
        yield f"test/{kind}/{i:03d}.png", encode_png(defective)
        yield f"ground_truth/{kind}/{i:03d}_mask.png", encode_png(mask)


def plant(kind: str, shot: Shot, rng: np.random.Generator) -> tuple[RGB, Mask]:
    """Returns the shot with an anomaly of that kind, and the mask of the changed pixels (never empty)."""
    while True:
        defective, mask = PLANTERS[kind](shot.image, rng, shot.scene)
        if mask.any():
            return defective, mask


def shots(category: str, split: SplitName, count: int, rng: np.random.Generator) -> Iterator[Shot]:
    """Yields `count` normal shots of the split's region of the photograph; each coin comes up equally often."""
    donors = photographs.donors()
    coins = photographs.coins_of(split)
    for i in range(count):
        donor = donors[i % len(donors)]
        yield (
            _coin(coins[i % len(coins)], donor, rng) if category == "coin" else _texture(category, split, donor, rng)
        )


def _texture(category: str, split: SplitName, donor: RGB, rng: np.random.Generator) -> Shot:
    view, light = photographs.texture_view(category, split, rng), photographs.light(rng)
    image = photographs.render(photographs.photograph(category), view, light, photographs.TINTS[category])
    return Shot(image, Scene(donor=donor))


def _coin(coin: int, donor: RGB, rng: np.random.Generator) -> Shot:
    view, light, tint = photographs.coin_view(coin, rng), photographs.light(rng), photographs.TINTS["coin"]
    image = photographs.render(photographs.lone_coin(coin), view, light, tint)
    behind = photographs.render(photographs.tray(), view, light, tint)
    return Shot(image, Scene(photographs.coin_disc(coin, view), behind, donor))


DEMO = Dataset(
    name="demo",
    title="the demo",
    source="photographs that ship with scikit-image",
    licence="CC0 and public domain: LICENSE.txt in the folder",
    categories=DEMO_CATEGORIES,
    objects={
        # Besides the demo's own: the hazelnut set of the tests, and scikit-image's other photographs.
        "hazelnut_toy": "hazelnut",
        "brick": "brick",
        "gravel": "gravel",
        "grass": "grass",
        "coin": "coin",
        "coins": "coin",
    },
    nothing_to_fetch="its photographs ship with the installation; run: goodshot demo",
    write=write_demo,
    caution="The demo's defects are synthetic, on photographs that ship with scikit-image, and their difficulty "
    "was set on these very images: the demo shows the pipeline, it is no evidence for the method.",
)
