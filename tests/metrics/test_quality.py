"""Image quality of sets of real photographs: against scikit-image's own measures, and by what the measures mean."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from goodshot.components.errors import BadInput
from goodshot.components.generator.augment import POLICIES, augmented_set
from goodshot.components.metrics.quality import (
    hub_file,
    image_quality,
    inception_score,
    network_names,
    quality_networks,
)
from goodshot.components.weights import file_sha256, registry

SIDE = 96
RGB = NDArray[np.uint8]


def photograph(name: str) -> RGB:
    return np.ascontiguousarray(getattr(skimage.data, name)()[:SIDE, 100 : 100 + SIDE])


@pytest.fixture(scope="module")
def coffee() -> RGB:
    return photograph("coffee")


@pytest.fixture(scope="module")
def views(coffee: RGB) -> RGB:
    return augmented_set([coffee], POLICIES["mild"], 4, seed=0)


def test_ssim_and_psnr_are_scikit_images(coffee: RGB, views: RGB) -> None:
    found = image_quality(views, [coffee])
    gaussian = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    ssim = [structural_similarity(v, coffee, channel_axis=2, data_range=255, **gaussian) for v in views]
    psnr = [peak_signal_noise_ratio(coffee, v, data_range=255) for v in views]
    # The two treat the border of half a window differently.
    assert found["ssim"] == pytest.approx(np.mean(ssim), abs=0.03)
    assert found["psnr"] == pytest.approx(np.mean(psnr), abs=1e-3)


def test_copies_of_the_original_are_perfect_and_without_variety(coffee: RGB) -> None:
    found = image_quality(np.stack([coffee] * 3), [coffee])
    assert found["ssim"] == pytest.approx(1)
    assert found["psnr"] == math.inf
    assert [found[n] for n in ("lpips_lite0", "diversity_lpips_lite0")] == pytest.approx([0, 0], abs=1e-6)
    assert found["is_lite0"] == pytest.approx(1)


def test_each_image_is_compared_with_its_own_original(coffee: RGB) -> None:
    cat = photograph("chelsea")
    assert image_quality(np.stack([coffee, cat] * 2), [coffee, cat])["psnr"] == math.inf
    assert image_quality(np.stack([cat, coffee] * 2), [coffee, cat])["psnr"] < 20


def test_stronger_augmentation_is_farther_and_more_diverse(coffee: RGB, views: RGB) -> None:
    mild, strong = (image_quality(v, [coffee]) for v in (views, augmented_set([coffee], POLICIES["strong"], 4, 0)))
    assert mild["ssim"] > strong["ssim"]
    for name in ("lpips_lite0", "diversity_lpips_lite0"):
        assert mild[name] < strong[name]


def test_diversity_is_the_mean_over_pairs(views: RGB) -> None:
    pairs = [image_quality(views[[i]], [views[j]])["lpips_lite0"] for i in range(4) for j in range(i)]
    assert image_quality(views, [views[0]])["diversity_lpips_lite0"] == pytest.approx(np.mean(pairs), rel=1e-4)


def test_different_subjects_have_a_higher_inception_score_than_views_of_one(coffee: RGB, views: RGB) -> None:
    subjects = np.stack([coffee, photograph("chelsea"), photograph("rocket"), photograph("astronaut")])
    assert image_quality(subjects, [coffee])["is_lite0"] > 1.5 > image_quality(views, [coffee])["is_lite0"]


def test_the_inception_score_of_certain_classes_is_their_number() -> None:
    assert inception_score(torch.eye(5).repeat(2, 1) * 1000) == pytest.approx(5)
    assert inception_score(torch.zeros(4, 10)) == pytest.approx(1)


def test_a_single_image_has_no_diversity(coffee: RGB) -> None:
    found = image_quality(coffee[None], [coffee])
    assert math.isnan(found["diversity_lpips_lite0"])
    assert found["pixel_variance"] == 0


def test_the_pixel_variance_is_that_across_the_images(coffee: RGB, views: RGB) -> None:
    assert image_quality(views, [coffee])["pixel_variance"] == pytest.approx((views / 255).var(axis=0).mean(), rel=1e-4)
    black_and_white = np.stack([np.zeros_like(coffee), np.full_like(coffee, 255)])
    assert image_quality(black_and_white, [coffee])["pixel_variance"] == pytest.approx(0.25)


def test_the_similarity_to_the_originals_is_that_of_mean_features(coffee: RGB, views: RGB) -> None:
    cat = photograph("chelsea")

    def similarity(images: RGB, originals: list[RGB]) -> float:
        return image_quality(images, originals)["original_similarity_lite0"]

    assert similarity(np.stack([coffee] * 2), [coffee]) == pytest.approx(1)
    # The originals count by their mean, also those without an image of their own.
    assert similarity(np.stack([coffee, cat]), [cat, coffee]) == pytest.approx(1)
    assert similarity(coffee[None], [coffee, cat]) == pytest.approx(similarity(cat[None], [cat, coffee]), abs=1e-5)
    assert 1 > similarity(views, [coffee]) > similarity(np.stack([cat]), [coffee])


@pytest.mark.parametrize("images", [np.zeros((0, 32, 32, 3), np.uint8), np.zeros((1, 8, 8, 3), np.uint8)])
def test_too_little_to_measure_is_bad_input(images: RGB) -> None:
    with pytest.raises(BadInput, match="image quality"):
        image_quality(images, [np.zeros((32, 32, 3), np.uint8)])


class TestStandardNetworks:
    """VGG-16 and Inception v3 with random weights at the place of the published files, whose digests are replaced."""

    @pytest.fixture(autouse=True)
    def hub(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
        monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
        quality_networks.cache_clear()
        yield tmp_path / "checkpoints"
        quality_networks.cache_clear()

    def place(self, monkeypatch: pytest.MonkeyPatch, hub: Path, network: str) -> torch.nn.Module:
        from torchvision import models

        other = "inception_v3" if network == "vgg16" else "vgg16"
        torch.manual_seed(0)
        model: torch.nn.Module = getattr(models, network)(weights=None)
        hub.mkdir(exist_ok=True)
        path = hub / f"{network}-new.pth"
        torch.save(model.state_dict(), path)
        file = path.rename(hub / f"{network}-{file_sha256(path)[:8]}.pth").name
        monkeypatch.setattr(registry, "TORCHVISION_FILES", {network: (file, None, ""), other: ("absent.pth", None, "")})
        return model.eval()

    def test_lpips_has_its_name_and_its_published_form(
        self, hub: Path, monkeypatch: pytest.MonkeyPatch, coffee: RGB, views: RGB
    ) -> None:
        vgg = self.place(monkeypatch, hub, "vgg16")
        assert network_names() == ("lpips", "is_lite0")
        found = image_quality(views[:1], [coffee])["lpips"]
        assert found == pytest.approx(self.peer(vgg, views[0], coffee), rel=1e-3)

    def peer(self, vgg: torch.nn.Module, a: RGB, b: RGB) -> float:
        """torchmetrics' LPIPS on the same trunk."""
        from torchmetrics.functional.image.lpips import _LPIPS

        peer = _LPIPS(pretrained=True, net="vgg", pnet_rand=True, use_dropout=True)
        kept = dict(vgg.features.named_parameters())
        for stage in (peer.net.slice1, peer.net.slice2, peer.net.slice3, peer.net.slice4, peer.net.slice5):
            for name, value in stage.named_parameters():
                value.data.copy_(kept[name])
        tensors = [torch.from_numpy(x.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1 for x in (a, b)]
        return float(peer.eval()(*tensors))

    def test_inception_reads_the_images_own_range(
        self, hub: Path, monkeypatch: pytest.MonkeyPatch, coffee: RGB
    ) -> None:
        self.place(monkeypatch, hub, "inception_v3")
        networks = quality_networks()
        assert (networks.lpips, networks.inception) == ("lpips_lite0", "is")
        assert networks.classify(torch.zeros(1, 3, SIDE, SIDE)).shape == (1, 1000)
        assert image_quality(np.stack([coffee] * 2), [coffee])["is"] == pytest.approx(1, abs=1e-4)

    def test_another_file_under_the_published_name_is_refused(self, hub: Path) -> None:
        hub.mkdir()
        (hub / "vgg16-397923af.pth").write_bytes(b"half a download")
        with pytest.raises(BadInput, match="SHA-256"):
            hub_file("vgg16")
