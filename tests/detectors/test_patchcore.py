import logging
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from goodshot.components.detectors import Detector, DetectorConfig, SharesFeatures, build_detector
from goodshot.components.detectors.patch_network import gaussian
from goodshot.components.detectors.patchcore import PatchCore, build_model
from goodshot.components.detectors.preprocess import preprocess
from goodshot.components.errors import BadInput, GoodshotError
from tests.detectors.photographs import texture_crops

CONFIG = DetectorConfig(image_size=128)


@pytest.fixture(scope="module")
def crops() -> NDArray[np.uint8]:
    return texture_crops("gravel", 6, 128)


@pytest.fixture(scope="module")
def fitted(crops: NDArray[np.uint8]) -> PatchCore:
    detector = PatchCore(CONFIG, seed=0)
    detector.fit(crops[:3])
    return detector


def anomalib_patchcore(config: DetectorConfig) -> torch.nn.Module:
    """anomalib's Lightning module with its own preprocessor, as users build it, and the embedded weights."""
    from anomalib.models.image.patchcore.lightning_model import Patchcore
    from anomalib.pre_processing import PreProcessor
    from torchvision.transforms.v2 import Compose, InterpolationMode, Normalize, Resize

    from goodshot.components.weights import efficientnet_lite0_state_dict

    side = config.image_size
    resize = Resize((side, side), interpolation=InterpolationMode.BICUBIC, antialias=True)
    module = Patchcore(
        backbone="tf_efficientnet_lite0",
        layers=config.layers,
        pre_trained=False,
        num_neighbors=config.num_neighbors,
        pre_processor=PreProcessor(transform=Compose([resize, Normalize([0.5] * 3, [0.5] * 3)])),
    )
    loaded = module.model.feature_extractor.feature_extractor.load_state_dict(
        efficientnet_lite0_state_dict(), strict=False
    )
    assert not loaded.missing_keys
    return module


def test_the_features_are_those_of_the_whole_pretrained_network(crops: NDArray[np.uint8]) -> None:
    import timm

    from goodshot.components.weights import efficientnet_lite0_state_dict

    whole = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    whole.load_state_dict(efficientnet_lite0_state_dict(), strict=True)
    pixels = preprocess(crops[0], 128)
    with torch.no_grad():
        x = whole.bn1(whole.conv_stem(pixels))
        stages = [x := block(x) for block in whole.blocks]
        ours = build_model(CONFIG).eval().feature_extractor(pixels)
    assert list(ours) == ["blocks.2", "blocks.4"]
    assert torch.equal(ours["blocks.2"], stages[2])
    assert torch.equal(ours["blocks.4"], stages[4])


@pytest.mark.parametrize("ratio", [1.0, 0.2])
def test_maps_and_scores_equal_anomalib_used_the_plain_way(crops: NDArray[np.uint8], ratio: float) -> None:
    config = DetectorConfig(image_size=96, coreset_ratio=ratio)  # 128 px crops, so the resize takes part
    ours = PatchCore(config, seed=7)
    ours.fit(crops[:3])
    scores = ours.score(crops[3:])

    module = anomalib_patchcore(config)
    # What its Engine applies to a batch; calling the preprocessor itself applies a copy without antialiasing.
    transform = module.pre_processor.transform
    as_input = [torch.from_numpy(part).permute(0, 3, 1, 2) / 255 for part in (crops[:3], crops[3:])]
    module.model.train()
    module.model(transform(as_input[0]))
    torch.manual_seed(7)
    np.random.seed(7)
    module.model.subsample_embedding(ratio)
    module.model.eval()
    theirs = module.model(transform(as_input[1]))

    assert scores.maps.std() > 0.1
    np.testing.assert_allclose(scores.maps, theirs.anomaly_map[:, 0].numpy(), atol=1e-4)
    np.testing.assert_allclose(scores.image, theirs.pred_score.numpy().ravel(), atol=1e-4)


@pytest.mark.parametrize("neighbours", [1, 9])
def test_features_and_weights_are_those_of_anomalibs_model_bit_for_bit(
    crops: NDArray[np.uint8], neighbours: int
) -> None:
    theirs = anomalib_patchcore(CONFIG.model_copy(update={"num_neighbors": neighbours})).model.eval()
    ours = build_model(CONFIG).eval()
    pixels = preprocess(crops[0], 128)
    with torch.no_grad():
        layers = theirs.feature_extractor(pixels)
        expected = theirs.generate_embedding({name: theirs.feature_pooler(layer) for name, layer in layers.items()})
        features = ours.features(pixels)
        assert torch.equal(features, expected)
        bank = ours.patches(ours.features(preprocess(crops[1], 128)))
        ours.memory_bank = theirs.memory_bank = bank
        patches = ours.patches(features)
        distances, places = theirs.nearest_neighbors(patches, n_neighbors=1)
        farthest = distances.argmax(0, keepdim=True)
        if neighbours > 1:
            patch, distance = patches[farthest], distances[farthest]
            expected = theirs.compute_anomaly_score(distance[None], places[farthest][None], patch)
            assert torch.equal(ours.weighted(patch, distance, neighbours), expected)
    torch.testing.assert_close(gaussian(), theirs.anomaly_map_generator.blur.kernel[0, 0].sum(0))


@pytest.mark.slow
def test_a_process_that_scores_imports_neither_anomalibs_models_nor_lightning() -> None:
    code = (
        "import sys, numpy as np; from goodshot.components.detectors import DetectorConfig, build_detector\n"
        "detector = build_detector(DetectorConfig(image_size=64), 0); images = np.zeros((2, 64, 64, 3), np.uint8)\n"
        "detector.fit(images); detector.score(images)\n"
        "print([name for name in ('anomalib.models', 'lightning', 'torchmetrics') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_planted_defect_scores_higher_than_the_clean_crop_and_there(
    fitted: PatchCore, crops: NDArray[np.uint8]
) -> None:
    damaged = crops[4].copy()
    damaged[40:70, 60:90] = (200, 30, 30)
    scores = fitted.score(np.stack([crops[4], damaged]))
    assert scores.image[1] > 1.2 * scores.image[0]
    row, column = np.unravel_index(scores.maps[1].argmax(), (128, 128))
    assert 30 <= row < 80
    assert 50 <= column < 100


def test_a_score_depends_on_no_other_test_image_bit_for_bit(fitted: PatchCore, crops: NDArray[np.uint8]) -> None:
    together = fitted.score(crops)
    backwards = fitted.score(crops[::-1])
    alone = [fitted.score(crops[i : i + 1]) for i in range(len(crops))]
    assert np.array_equal(together.image, backwards.image[::-1])
    assert np.array_equal(together.maps, backwards.maps[::-1])
    assert np.array_equal(together.image, np.concatenate([one.image for one in alone]))


@pytest.mark.parametrize("ratio", [1.0, 0.1])
def test_shared_features_give_the_same_numbers_bit_for_bit(crops: NDArray[np.uint8], ratio: float) -> None:
    config = DetectorConfig(image_size=128, coreset_ratio=ratio)
    alone = PatchCore(config, seed=3)
    alone.fit([crops[:2], crops[2:3, :100, :90]])
    reader: SharesFeatures = PatchCore(DetectorConfig(image_size=128), seed=0)
    shared = PatchCore(config, seed=3)
    shared.fit_features([reader.embed(crops[:2]), reader.embed(crops[2:3, :100, :90])])
    assert np.array_equal(shared.memory_bank, alone.memory_bank)
    expected, scores = alone.score(crops[3:]), shared.score_features(reader.embed(crops[3:]))
    assert np.array_equal(scores.image, expected.image)
    assert np.array_equal(scores.maps, expected.maps)


def test_only_what_changes_features_is_in_their_identity() -> None:
    config = DetectorConfig()
    for same in ({"coreset_ratio": 0.1}, {"num_neighbors": 3}, {"alias": "mine"}):
        assert config.model_copy(update=same).features_identity() == config.features_identity()
    for other in ({"image_size": 128}, {"layers": ("blocks.2",)}):
        assert config.model_copy(update=other).features_identity() != config.features_identity()
    assert DetectorConfig(name="padim").features_identity() is None


def test_scoring_leaves_the_memory_bank_alone(crops: NDArray[np.uint8]) -> None:
    banks = []
    for test_set in (crops[3:4], 255 - crops):
        detector = PatchCore(CONFIG, seed=0)
        detector.fit(crops[:2])
        detector.score(test_set)
        banks.append(detector.memory_bank)
    assert banks[0].shape == (2 * 16 * 16, 40 + 112)
    assert np.array_equal(*banks)


def test_fitting_again_forgets_the_first_fit(fitted: PatchCore, crops: NDArray[np.uint8]) -> None:
    detector = PatchCore(CONFIG, seed=0)
    detector.fit(255 - crops)
    detector.fit(crops[:3])
    assert np.array_equal(detector.memory_bank, fitted.memory_bank)


def test_originals_and_smaller_generated_images_fit_together(crops: NDArray[np.uint8]) -> None:
    detector = build_detector(CONFIG, seed=0)
    detector.fit([crops[:1], crops[1:3, :96, :90]])
    assert isinstance(detector, PatchCore)
    assert len(detector.memory_bank) == 3 * 256


def test_the_coreset_follows_the_seed_and_leaves_the_global_random_states(crops: NDArray[np.uint8]) -> None:
    def bank(seed: int) -> NDArray[np.float32]:
        detector = PatchCore(DetectorConfig(image_size=64, coreset_ratio=0.25), seed=seed)
        detector.fit(crops[:2])
        return detector.memory_bank

    first = bank(1)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index,union-attr]
    again = bank(1)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # type: ignore[index]
    np.random.rand(5), torch.rand(5)
    assert len(first) == 32
    assert np.array_equal(first, again)
    assert not np.array_equal(first, bank(2))


def test_distances_in_small_blocks_change_nothing(
    fitted: PatchCore, crops: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fitted.score(crops[3:5])
    monkeypatch.setattr("goodshot.components.detectors.patchcore.BLOCK", 100)
    blocks = fitted.score(crops[3:5])
    np.testing.assert_allclose(blocks.maps, whole.maps, atol=1e-4)
    np.testing.assert_allclose(blocks.image, whole.image, atol=1e-4)


def test_more_neighbours_than_patches_is_bad_input(crops: NDArray[np.uint8]) -> None:
    detector = build_detector(DetectorConfig(image_size=32, num_neighbors=17), seed=0)
    with pytest.raises(BadInput, match=r"num_neighbors=17 .* 16 patches"):
        detector.fit(crops[:1])
    with pytest.raises(GoodshotError, match="call fit"):
        detector.score(crops)


@pytest.mark.parametrize(
    "images", [np.zeros((1, 8, 8, 3)), np.zeros((8, 8, 3), np.uint8), [np.zeros((1, 8, 8, 1), np.uint8)]]
)
def test_anything_but_uint8_rgb_batches_is_bad_input(fitted: PatchCore, images: NDArray[np.uint8]) -> None:
    detector: Detector = fitted
    with pytest.raises(BadInput, match="images must be uint8 RGB"):
        detector.score(images)


def test_no_images_to_fit_and_none_to_score(fitted: PatchCore) -> None:
    none = np.zeros((0, 8, 8, 3), np.uint8)
    with pytest.raises(BadInput, match="no image"):
        PatchCore(CONFIG, seed=0).fit(none)
    assert fitted.score(none).maps.shape == (0, 128, 128)


def test_non_finite_outputs_are_an_error_that_names_them(crops: NDArray[np.uint8]) -> None:
    detector = PatchCore(CONFIG, seed=0)
    detector.fit(crops[:1])
    detector._model.memory_bank[:] = float("nan")
    with pytest.raises(GoodshotError, match="non-finite score for test image 0"):
        detector.score(crops[:1])


def test_building_leaves_warning_filters_and_root_handlers(crops: NDArray[np.uint8]) -> None:
    filters, handlers = list(warnings.filters), list(logging.getLogger().handlers)
    PatchCore(CONFIG, seed=0)
    assert list(warnings.filters) == filters
    assert logging.getLogger().handlers == handlers
