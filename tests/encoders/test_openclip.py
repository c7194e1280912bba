"""open_clip models behind the encoder's door, with a tiny model of our own: published ones are not here."""

import json
from pathlib import Path

import open_clip
import pytest
import skimage.data
import torch
from PIL import Image
from torchvision.transforms.functional import to_pil_image

from goodshot.components.encoders import Encoder, Precision, build_encoder, check_encoder, encoder_identity
from goodshot.components.encoders.openclip import prepare
from goodshot.components.errors import BadInput, MissingWeights

TINY = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
}


@pytest.fixture(scope="module", autouse=True)
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    config = tmp_path_factory.mktemp("configs") / "goodshot-tiny.json"
    config.write_text(json.dumps(TINY))
    open_clip.add_model_config(config)
    return "open_clip:goodshot-tiny:random"


@pytest.fixture(scope="module")
def encoder(tiny: str) -> Encoder:
    torch.manual_seed(7)
    return build_encoder(tiny, allow_random=True)


@pytest.fixture(scope="module")
def direct() -> torch.nn.Module:
    torch.manual_seed(7)
    model: torch.nn.Module = open_clip.create_model("goodshot-tiny").eval()
    return model


def images(count: int = 5, size: int = 32) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_equals_open_clip_itself(encoder: Encoder, direct: torch.nn.Module) -> None:
    texts = ["a pill", "a photo of a hazelnut"]
    expected_text = direct.encode_text(open_clip.tokenize(texts), normalize=True)  # type: ignore[operator]
    mean, std = (torch.tensor(v)[:, None, None] for v in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD))
    expected_image = direct.encode_image((images() - mean) / std, normalize=True)  # type: ignore[operator]
    assert torch.allclose(encoder.encode_texts(texts), expected_text, atol=1e-5)
    assert torch.allclose(encoder.encode_images(images()), expected_image, atol=1e-5)
    assert (encoder.dim, encoder.name) == (32, "open_clip:goodshot-tiny:random")


@pytest.mark.parametrize("mode", ["shortest", "squash"])
def test_preprocessing_equals_open_clips_transform(direct: torch.nn.Module, mode: str) -> None:
    pixels = torch.nn.functional.interpolate(images(1, 12), (120, 90), mode="bicubic").clamp(0, 1)
    picture: Image.Image = to_pil_image(pixels[0])
    config = {**direct.visual.preprocess_cfg, "resize_mode": mode}  # type: ignore[union-attr,dict-item]
    transform = open_clip.transform.image_transform_v2(open_clip.transform.PreprocessCfg(**config), is_train=False)
    # open_clip rounds to 8 bits before and after resizing: two steps of 1/255, divided by std ≈ 0.27
    assert (prepare(pixels, config)[0] - transform(picture)).abs().max() < 0.03


def test_rows_do_not_depend_on_their_batch(encoder: Encoder) -> None:
    alone = torch.cat([encoder.encode_images(image[None]) for image in images(7)])
    assert torch.allclose(encoder.encode_images(images(7)), alone, atol=1e-6)
    texts = [f"a bottle number {i}" for i in range(40)]
    assert torch.allclose(encoder.encode_texts(texts)[3:4], encoder.encode_texts(texts[3:4]), atol=1e-6)


def test_a_text_is_cut_at_the_models_context(encoder: Encoder) -> None:
    start = " ".join(["nut"] * 75)  # and a token at either end
    texts = [start, f"{start} and more", start.removesuffix(" nut")]
    embeddings = encoder.encode_texts(texts)
    assert torch.equal(embeddings[0], embeddings[1])
    assert not torch.equal(embeddings[0], embeddings[2])


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_local_file_gives_its_weights(encoder: Encoder, direct: torch.nn.Module, tmp_path: Path, suffix: str) -> None:
    from safetensors.torch import save_file

    path = tmp_path / f"weights{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(direct.state_dict(), path)
    name = f"open_clip:goodshot-tiny:{path}"
    torch.manual_seed(1)
    assert torch.equal(build_encoder(name).encode_images(images()), encoder.encode_images(images()))
    identity = encoder_identity(name)
    assert str(tmp_path) not in json.dumps(identity)
    assert (identity["encoder"], len(identity["weights_sha256"])) == ("open_clip:goodshot-tiny", 64)


def test_a_file_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"other": torch.zeros(1)}, path)
    with pytest.raises(BadInput, match=r"open_clip cannot build it from .*weights\.pt"):
        build_encoder(f"open_clip:goodshot-tiny:{path}")


def test_a_pickle_runs_no_code(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (tmp_path / "ran",)

    path = tmp_path / "weights.pt"
    torch.save({"state_dict": Payload()}, path)
    with pytest.raises(BadInput):
        build_encoder(f"open_clip:goodshot-tiny:{path}")
    assert not (tmp_path / "ran").exists()


def test_random_weights_are_refused(tiny: str) -> None:
    for refuse in (build_encoder, check_encoder, encoder_identity):
        with pytest.raises(BadInput, match="a study refuses random weights"):
            refuse(tiny)


@pytest.mark.parametrize("name", ["ViT-B-32:laion2b_s34b_b79k", "RN50:cc12m", "ViT-B-16-SigLIP:webli"])
def test_a_tag_that_is_not_here_is_named_with_its_remedy(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for refuse in (build_encoder, check_encoder, encoder_identity):
        with pytest.raises(MissingWeights, match=rf"in the hub cache .*remedy: goodshot fetch open_clip:{name}"):
            refuse(f"open_clip:{name}")


def test_missing_file_unknown_model_and_tag_name_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(MissingWeights, match=r"no weight file .*absent\.safetensors"):
        build_encoder(f"open_clip:goodshot-tiny:{tmp_path / 'absent.safetensors'}")
    with pytest.raises(BadInput, match=r"unknown open_clip model 'ViT-B32'; nearest: .*ViT-B-32"):
        build_encoder("open_clip:ViT-B32:openai")
    with pytest.raises(BadInput, match="unknown pretrained tag of ViT-B-32 'opnai'; nearest: openai"):
        build_encoder("open_clip:ViT-B-32:opnai")
    for path in ("/no/such/folder", "~nobody-of-this-name/x"):
        with pytest.raises(BadInput, match="no weight file or folder"):
            build_encoder(f"open_clip:ViT-B-32:{path}")
    with pytest.raises(BadInput, match="must read open_clip:<model>:<pretrained tag, weight file or folder>"):
        build_encoder("open_clip:ViT-B-32")


def folder_of(direct: torch.nn.Module, folder: Path, **preprocess: object) -> Path:
    """As open_clip itself would publish a model: its configuration beside its weights."""
    from safetensors.torch import save_file

    folder.mkdir()
    save_file(direct.state_dict(), folder / "open_clip_model.safetensors")
    config = {**direct.visual.preprocess_cfg, **preprocess}  # type: ignore[dict-item,union-attr]
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": TINY, "preprocess_cfg": config}))
    return folder


@pytest.mark.parametrize("model", ["goodshot-tiny", "local-dir"])
def test_a_local_folder_gives_weights_and_preprocessing(
    encoder: Encoder, direct: torch.nn.Module, tmp_path: Path, model: str
) -> None:
    plain = folder_of(direct, tmp_path / "plain")
    darker = folder_of(direct, tmp_path / "darker", mean=[0.9, 0.9, 0.9])
    texts = ["a pill", "a photo of a hazelnut"]
    read = build_encoder(f"open_clip:{model}:{plain}")
    assert torch.equal(read.encode_images(images()), encoder.encode_images(images()))
    assert torch.equal(read.encode_texts(texts), encoder.encode_texts(texts))
    other = build_encoder(f"open_clip:{model}:{darker}")
    assert not torch.allclose(other.encode_images(images()), encoder.encode_images(images()), atol=1e-3)
    identities = [encoder_identity(f"open_clip:{model}:{folder}") for folder in (plain, darker)]
    assert identities[0] != identities[1]
    assert str(tmp_path) not in json.dumps(identities)


def test_a_folder_that_does_not_fit_is_refused(direct: torch.nn.Module, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(MissingWeights, match="holds none of open_clip_model"):
        check_encoder(f"open_clip:goodshot-tiny:{empty}")
    with pytest.raises(BadInput, match="name the model in place of local-dir"):
        check_encoder(f"open_clip:local-dir:{empty}")
    folder = folder_of(direct, tmp_path / "folder")
    for text, problem in (("{", "is not JSON"), ("{}", "names no model_cfg")):
        (folder / "open_clip_config.json").write_text(text)
        with pytest.raises(BadInput, match=problem):
            check_encoder(f"open_clip:local-dir:{folder}")


def test_a_folder_runs_no_code_of_its_own(direct: torch.nn.Module, tmp_path: Path) -> None:
    folder = folder_of(direct, tmp_path / "folder")
    config = json.loads((folder / "open_clip_config.json").read_text())
    text = {"hf_tokenizer_name": "x", "tokenizer_kwargs": {"trust_remote_code": True}}
    config["model_cfg"] = {**TINY, "text_cfg": {**TINY["text_cfg"], **text}}  # type: ignore[dict-item]
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    for refuse in (build_encoder, check_encoder, encoder_identity):
        with pytest.raises(BadInput, match="asks for code of its own"):
            refuse(f"open_clip:local-dir:{folder}")


def test_the_file_that_is_identified_is_the_one_that_is_loaded(
    direct: torch.nn.Module, encoder: Encoder, tmp_path: Path
) -> None:
    """open_clip prefers the safetensors twin of a pickle, and we our own order."""
    folder = folder_of(direct, tmp_path / "folder")
    name = f"open_clip:local-dir:{folder}"
    identity = encoder_identity(name)
    other = {key: torch.zeros_like(value) for key, value in direct.state_dict().items()}
    torch.save(other, folder / "open_clip_pytorch_model.bin")
    assert encoder_identity(name) == identity
    assert torch.equal(build_encoder(name).encode_images(images()), encoder.encode_images(images()))


def test_a_folders_tokenizer_is_part_of_what_it_is(direct: torch.nn.Module, tmp_path: Path) -> None:
    folder = folder_of(direct, tmp_path / "folder")
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"] = {**TINY, "text_cfg": {**TINY["text_cfg"], "hf_tokenizer_name": "x"}}  # type: ignore[dict-item]
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    name = f"open_clip:local-dir:{folder}"
    with pytest.raises(MissingWeights, match="holds no tokenizer"):
        check_encoder(name)
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\na\n")
    first = encoder_identity(name)
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\nb\n")
    assert encoder_identity(name) != first


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_stays_close_and_counts_as_another_encoder(
    direct: torch.nn.Module, encoder: Encoder, tmp_path: Path, precision: Precision
) -> None:
    name = f"open_clip:local-dir:{folder_of(direct, tmp_path / 'model')}"
    mixed = build_encoder(name, precision=precision)
    found, texts = mixed.encode_images(images()), mixed.encode_texts(["a pill", "a bottle"])
    assert found.dtype == texts.dtype == torch.float32
    assert torch.allclose(torch.cat([found, texts]).norm(dim=1), torch.ones(7), atol=1e-5)
    assert (found * encoder.encode_images(images())).sum(dim=1).min() > 0.999
    assert not torch.equal(found, encoder.encode_images(images()))
    assert encoder_identity(name, precision) == {**encoder_identity(name), "precision": precision}


@pytest.mark.parametrize("mode", ["shortest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@torch.no_grad()
def test_tensors_embed_as_open_clips_own_transform_of_a_picture(
    direct: torch.nn.Module, mode: str, interpolation: str
) -> None:
    """Photographs of 300 × 451 to 512² through a published architecture; within 1e-3 of cosine."""
    torch.manual_seed(0)
    model = open_clip.create_model("ViT-B-32").eval()
    config = {**model.visual.preprocess_cfg, "resize_mode": mode, "interpolation": interpolation}
    transform = open_clip.transform.image_transform_v2(open_clip.transform.PreprocessCfg(**config), is_train=False)
    for name in ("chelsea", "coffee", "astronaut", "rocket"):
        photograph = getattr(skimage.data, name)()
        ours = prepare(torch.from_numpy(photograph).permute(2, 0, 1)[None].float() / 255, config)
        theirs = transform(Image.fromarray(photograph))[None]
        both = model.encode_image(torch.cat([ours, theirs]), normalize=True)
        assert 1 - float(both[0] @ both[1]) < 1e-3, name


@pytest.mark.parametrize("size", [32, 48])
def test_the_gradient_is_that_of_the_embedding(encoder: Encoder, size: int) -> None:
    """Against a difference quotient along the gradient, also through the resize."""
    text = encoder.encode_texts(["a pill"])[0]
    pixels = (0.1 + 0.8 * images(1, size)).requires_grad_()
    torch.testing.assert_close(encoder.embed_with_gradient(pixels), encoder.encode_images(pixels), atol=1e-5, rtol=0)
    (gradient,) = torch.autograd.grad(encoder.embed_with_gradient(pixels)[0] @ text, [pixels])
    step = 0.02 * gradient / gradient.norm()
    with torch.no_grad():
        ends = [encoder.embed_with_gradient(pixels + sign * step)[0] @ text for sign in (1, -1)]
    assert float(ends[0] - ends[1]) == pytest.approx(0.04 * float(gradient.norm()), rel=0.05)
