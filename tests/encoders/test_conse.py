"""The embedded encoder on real photographs, and its cache of class embeddings."""

from pathlib import Path

import pytest
import skimage.data
import torch
from torch import Tensor

from goodshot.components.encoders import build_encoder, check_encoder, encoder_identity
from goodshot.components.encoders.conse import ConseEncoder, class_cache, class_names
from goodshot.components.errors import BadInput

OBJECTS = "coffee cat rocket coin brick grass gravel hazelnut bottle pill carpet toothbrush zipper screw dog car"
WORDS = OBJECTS.split()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def encoder(cache: Path) -> ConseEncoder:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GOODSHOT_CACHE", str(cache))
        built = build_encoder("conse-lite0-minilm")
    assert isinstance(built, ConseEncoder)
    return built


def photograph(name: str) -> Tensor:
    pixels = torch.from_numpy(getattr(skimage.data, name)())
    return pixels.permute(2, 0, 1)[None].float() / 255


@pytest.mark.parametrize(("name", "word"), [("coffee", "coffee"), ("chelsea", "cat"), ("rocket", "rocket")])
def test_a_photograph_ranks_its_own_word_first(encoder: ConseEncoder, name: str, word: str) -> None:
    image = encoder.encode_images(photograph(name))
    cosines = encoder.encode_texts([f"a photo of a {other}" for other in WORDS]) @ image[0]
    assert WORDS[int(cosines.argmax())] == word


def test_embeddings_are_unit_rows(encoder: ConseEncoder) -> None:
    image, text = encoder.encode_images(photograph("coffee")), encoder.encode_texts(["a", "b c"])
    assert (image.dtype, image.shape, text.shape) == (torch.float32, (1, 384), (2, 384))
    assert torch.allclose(torch.cat([image, text]).norm(dim=1), torch.ones(3), atol=1e-6)
    assert encoder.encode_texts([]).shape == encoder.encode_images(torch.empty(0, 3, 8, 8)).shape == (0, 384)


def test_an_image_does_not_depend_on_its_batch(encoder: ConseEncoder) -> None:
    images = torch.cat(
        [photograph(name)[..., :300, i : i + 300] for name in ("coffee", "chelsea") for i in (0, 50, 99)]
    )
    together = encoder.encode_images(images)
    alone = torch.cat([encoder.encode_images(image[None]) for image in images])
    assert torch.allclose(together, alone, atol=1e-6)
    assert not torch.allclose(together[0], together[3], atol=1e-3)


def test_a_text_does_not_depend_on_its_neighbours(encoder: ConseEncoder) -> None:
    texts = [
        "a pill",
        "a photo of " + "a very " * 60 + "long sentence",
        *(f"a bottle number {i}" for i in range(40)),
    ]
    together = encoder.encode_texts(texts)
    alone = torch.cat([encoder.encode_texts([text]) for text in texts[:6]])
    assert torch.allclose(together[:6], alone, atol=1e-6)


def test_a_text_is_cut_at_the_models_limit(encoder: ConseEncoder) -> None:
    start = " ".join(["nut"] * 254)  # and a word piece at either end
    embeddings = encoder.encode_texts([start, f"{start} and more", start.removesuffix(" nut")])
    assert torch.equal(embeddings[0], embeddings[1])
    assert not torch.equal(embeddings[0], embeddings[2])


def test_texts_equal_plain_mean_pooling(encoder: ConseEncoder) -> None:
    """The same weights through transformers' own loading, one unpadded sentence at a time."""
    from transformers import AutoModel, AutoTokenizer

    from goodshot.components.weights import resolve

    folder = resolve("all-minilm-l6-v2").path.parent
    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    texts = ["a hazelnut with cobnut", "a photo of a zipper, closed"]
    with torch.no_grad():
        pooled = [model(**tokenizer(t, return_tensors="pt")).last_hidden_state[0].mean(dim=0) for t in texts]
    expected = torch.nn.functional.normalize(torch.stack(pooled), dim=1)
    assert torch.allclose(encoder.encode_texts(texts), expected, atol=1e-5)


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(3, 8, 8),
        torch.zeros(1, 1, 8, 8),
        torch.zeros(1, 3, 8, 8, dtype=torch.uint8),
        torch.full((1, 3, 8, 8), 255.0),
        torch.full((1, 3, 8, 8), float("nan")),
    ],
)
def test_other_images_are_refused(encoder: ConseEncoder, images: Tensor) -> None:
    with pytest.raises(BadInput, match="images must"):
        encoder.encode_images(images)


@pytest.mark.usefixtures("encoder")
@pytest.mark.parametrize(
    "damage",
    ["changed", pytest.param("truncated", marks=pytest.mark.slow), pytest.param("missing", marks=pytest.mark.slow)],
)
def test_a_damaged_cache_is_rebuilt(
    cache: Path, damage: str, encoder: ConseEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOODSHOT_CACHE", str(cache))
    path = class_cache(class_names())
    intact = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(intact[:5000] if damage == "truncated" else intact[:-4] + b"\x00\x00\x80\x3f")
    again = ConseEncoder()
    assert path.read_bytes() == intact
    image = photograph("coffee")
    assert torch.equal(again.encode_images(image), encoder.encode_images(image))
    assert [file.suffix for file in path.parent.iterdir()] == [".safetensors"]


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from goodshot.components.encoders import conse

    blocked = tmp_path / "file"
    blocked.write_text("a file where the cache folder should be")
    monkeypatch.setenv("GOODSHOT_CACHE", str(blocked))
    conse._write(class_cache(["acorn"]), torch.ones(1, 384))
    assert conse._read(class_cache(["acorn"]), 1) is None


def test_identity_is_plain_and_names_both_weights() -> None:
    identity = encoder_identity("conse-lite0-minilm")
    assert set(map(type, identity.values())) == {str}
    assert identity["encoder"] == "conse-lite0-minilm"
    assert identity["all-minilm-l6-v2_sha256"].startswith("53aa51172d142c89")
    check_encoder("conse-lite0-minilm")


def test_an_unknown_encoder_lists_what_is_allowed() -> None:
    for refuse in (build_encoder, check_encoder, encoder_identity):
        with pytest.raises(BadInput, match=r"unknown encoder 'clip'; allowed: conse-lite0-minilm, open_clip:"):
            refuse("clip")


def test_the_gradient_is_that_of_the_embedding(encoder: ConseEncoder) -> None:
    """Against a difference quotient along the gradient, where the steepest change is."""
    image = photograph("coffee")[..., :256, :256].contiguous()
    text = encoder.encode_texts(["a cat"])[0]

    def cosine(pixels: Tensor) -> Tensor:
        return encoder.embed_with_gradient(pixels)[0] @ text

    torch.testing.assert_close(encoder.embed_with_gradient(image), encoder.encode_images(image), atol=1e-5, rtol=0)
    pixels = (0.1 + 0.8 * image).requires_grad_()
    (gradient,) = torch.autograd.grad(cosine(pixels), [pixels])
    direction = gradient / gradient.norm()
    step = 0.05
    with torch.no_grad():
        change = cosine(pixels + step * direction) - cosine(pixels - step * direction)
    assert float(change / (2 * step)) == pytest.approx(float(gradient.norm()), rel=0.1)
    with pytest.raises(BadInput, match="images must"):
        encoder.embed_with_gradient(image * 2)


def test_mixed_precision_stays_close(encoder: ConseEncoder, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOODSHOT_CACHE", str(cache))
    mixed = build_encoder("conse-lite0-minilm", precision="bf16")
    image, texts = photograph("coffee"), ["a photo of a coffee", "a photo of a cat"]
    found = torch.cat([mixed.encode_images(image), mixed.encode_texts(texts)])
    expected = torch.cat([encoder.encode_images(image), encoder.encode_texts(texts)])
    assert found.dtype == torch.float32
    assert (found * expected).sum(dim=1).min() > 0.99
    assert not torch.equal(found, expected)
    assert encoder_identity("conse-lite0-minilm", "bf16")["precision"] == "bf16"
