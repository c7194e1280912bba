"""Equations 1–5 and 14 against slow references in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from goodshot.components.defects.images import DefectImages
from goodshot.components.encoders import build_encoder
from goodshot.components.fusion.embeddings import (
    SPREAD,
    Aggregator,
    DynamicFusion,
    LocationEmbedding,
    SemanticEmbedding,
    TexturalEmbedding,
    initial_tokens,
)
from goodshot.components.fusion.features import features_of
from goodshot.components.fusion.mask_encoder import MaskEncoder, encoder_masks


def numbers(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(len(shape)).standard_normal(shape))


def linear(layer: nn.Linear, row: np.ndarray) -> np.ndarray:
    return layer.weight.detach().numpy() @ row + layer.bias.detach().numpy()


def gelu(x: np.ndarray) -> np.ndarray:
    from scipy.special import erf

    return x * (1 + erf(x / np.sqrt(2))) / 2


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max())
    return e / e.sum()


def test_semantic_embedding_is_eq_1() -> None:
    embedding, text = SemanticEmbedding(5, tokens=3, width=4).double(), numbers(2, 5)
    tokens = embedding(text).detach().numpy()
    assert tokens.shape == (2, 3, 4)
    for b, row in enumerate(text.numpy()):
        for token in tokens[b]:
            np.testing.assert_allclose(token, linear(embedding.linear, row / np.sqrt((row**2).sum())), atol=1e-12)


def test_location_embedding_is_eq_2(defects: DefectImages) -> None:
    embedding = LocationEmbedding(MaskEncoder((2, 3)), tokens=2, width=4).double().train()
    masks = encoder_masks(defects.masks[:2]).double()
    together = embedding(masks).detach()
    assert together.shape == (2, 2, 4)
    code = embedding.encoder(masks[:1])[0].detach().numpy()
    assert code.shape == (3, 28, 28)
    kernel, bias = embedding.conv.weight.detach().numpy(), embedding.conv.bias.detach().numpy()
    padded = np.pad(code, ((0, 0), (1, 1), (1, 1)))
    for token in range(2):
        flat = [
            (padded[:, y : y + 3, x : x + 3] * kernel[token]).sum() + bias[token] for y in range(28) for x in range(28)
        ]
        np.testing.assert_allclose(together[0, token], linear(embedding.linear, np.array(flat)), atol=1e-9)
    # In training too, a mask's embedding does not depend on the other masks of the batch.
    torch.testing.assert_close(embedding(masks[1:]), together[1:], rtol=0, atol=1e-12)


def test_mask_encoder_layers_are_strided_convolutions_with_elu() -> None:
    encoder = MaskEncoder((3,)).double().eval()
    mask = (numbers(1, 1, 112, 112) > 0.5).double()
    code = encoder(mask)[0].detach().numpy()
    kernel, bias = encoder[0].weight.detach().numpy(), encoder[0].bias.detach().numpy()
    padded = np.pad(mask[0, 0].numpy(), 1)
    for y, x in [(0, 0), (7, 30), (55, 55)]:
        value = (kernel[:, 0] * padded[2 * y : 2 * y + 4, 2 * x : 2 * x + 4]).sum((1, 2)) + bias
        value /= np.sqrt(1 + encoder[1].eps)
        np.testing.assert_allclose(code[:, y, x], np.where(value > 0, value, np.exp(value) - 1), atol=1e-12)


def test_textural_tokens_start_at_the_features_of_their_type() -> None:
    features = numbers(5, 200).float().numpy()
    types = np.array([0, 1, 0, 1, 1])
    tokens = initial_tokens(features, types, tokens=50, seed=3)
    assert tokens.shape == (2, 50, 200)
    for kind in (0, 1):
        mean = features[types == kind].mean(0)
        assert np.abs(tokens[kind].numpy() - mean).max() < 6 * SPREAD
        assert tokens[kind].std(0).mean() == pytest.approx(SPREAD, rel=0.1)
    embedding = TexturalEmbedding(tokens.double(), width=3).double()
    picked = embedding(torch.tensor([1, 0])).detach().numpy()
    np.testing.assert_allclose(picked[0, 7], linear(embedding.linear, tokens[1, 7].double().numpy()), atol=1e-12)
    assert picked.shape == (2, 50, 3)


def test_aggregator_is_eq_5() -> None:
    aggregator, tokens = Aggregator(width=6, heads=2).double(), numbers(2, 5, 6)
    out = aggregator(tokens).detach().numpy()
    attention = aggregator.attention
    w, b = attention.in_proj_weight.detach().numpy(), attention.in_proj_bias.detach().numpy()
    for image, rows in enumerate(tokens.numpy()):
        q, k, v = (rows @ w[6 * i : 6 * i + 6].T + b[6 * i : 6 * i + 6] for i in range(3))
        for n in range(5):
            heads = [softmax(k[:, h] @ q[n, h] / np.sqrt(3)) @ v[:, h] for h in (slice(0, 3), slice(3, 6))]
            attended = linear(attention.out_proj, np.concatenate(heads))
            remapped = linear(aggregator.mlp[2], gelu(linear(aggregator.mlp[0], attended)))
            np.testing.assert_allclose(out[image, n], rows[n] + remapped, atol=1e-12)


def test_dynamic_fusion_is_eq_14() -> None:
    d = 6
    dynamic, tokens, times = DynamicFusion(d).double(), numbers(2, 3, d), torch.tensor([4, 700])
    out = dynamic(tokens, times).detach().numpy()
    for image, t in enumerate(times.tolist()):
        angles = t * np.exp(-np.log(10_000) * np.arange(d // 2) / (d // 2 - 1))
        hidden = linear(dynamic.align[0], np.concatenate([np.sin(angles), np.cos(angles)]))
        e_tim = linear(dynamic.align[2], hidden / (1 + np.exp(-hidden)))
        for n, token in enumerate(tokens[image].numpy()):
            e_t = linear(dynamic.mlp[2], gelu(linear(dynamic.mlp[0], np.concatenate([token, e_tim]))))
            # diffusers computes the angles in float32.
            np.testing.assert_allclose(out[image, n], e_t, atol=1e-4)


def test_features_are_those_of_the_captions_and_of_image_times_mask(defects: DefectImages) -> None:
    encoder, two = build_encoder("conse-lite0-minilm"), defects.of([0, 1, 4])
    features = features_of(encoder, two)
    np.testing.assert_allclose(features.text, encoder.encode_texts(two.captions).numpy(), atol=1e-6)
    masked = torch.zeros(3, 3, two.side, two.side)
    for i in range(3):
        for y, x in zip(*np.nonzero(two.masks[i]), strict=True):
            masked[i, :, y, x] = torch.from_numpy(two.images[i, y, x]).float() / 255
    np.testing.assert_allclose(features.image, encoder.encode_images(masked).numpy(), atol=1e-6)
