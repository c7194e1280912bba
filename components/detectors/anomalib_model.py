"""Any image model of anomalib: trained by Lightning on good images for as many steps as declared, raw scores out.

What anomalib's Engine adds is left out on purpose: its post-processor clamps scores to [0, 1], its datamodules let
test labels set thresholds, and Lightning trains 1000 epochs where nobody says otherwise. No test image is here.

Legend: N training images, S the image size.
"""

from __future__ import annotations

import importlib
import random
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from components.detectors.base import Images, Scores, as_batches
from components.detectors.config import EFFICIENT_AD, EMBEDDED_BACKBONE, DetectorConfig
from components.detectors.models import Model, find_model
from components.detectors.patchcore import seeded
from components.detectors.quiet import quiet_import
from components.errors import BadInput, GoodshotError, MissingWeights

# What Lightning is told by goodshot; a model's own wishes for these do not count.
_OURS = {"max_epochs", "max_steps", "devices", "num_sanity_val_steps", "val_check_interval"}


class AnomalibDetector:
    """A model of anomalib by its name, on the embedded backbone where it takes one."""

    def __init__(self, config: DetectorConfig, *, seed: int, device: str = "cpu") -> None:
        self.config, self.seed, self.device = config, seed, torch.device(device)
        self._fitted, self._seen = False, 0
        self._build()

    def fit(self, train: Images) -> None:
        """Train on good images, uint8 RGB (N, H, W, 3), or several such arrays, from the weights of construction.

        Raises `BadInput` where there is no image, `GoodshotError` where the model cannot be trained on these.
        """
        images = [image for batch in as_batches(train, "train") for image in batch]
        if not images:
            raise BadInput("train: there is no image to fit the detector on")
        if self._fitted:
            self._build()
        with everything_seeded(self.seed, self.device):
            self._train(_GoodImages(images, self._transform))
        self.module.to(self.device).eval()
        self._fitted, self._seen = True, len(images)

    @torch.no_grad()
    def score(self, images: Images) -> Scores:
        """Return raw scores (T,) and maps (T, S, S) of uint8 RGB images; a model without maps gives maps of NaN.

        Raises `GoodshotError` before `fit`, and where an output is not finite.
        """
        if not self._fitted:
            raise GoodshotError(f"{self.config.label} is not fitted: call fit before score")
        found = [self._score(image, i) for i, image in enumerate(i for b in as_batches(images, "images") for i in b)]
        size = self.config.image_size
        maps = np.stack([m for _, m in found]) if found else np.empty((0, size, size), np.float32)
        return Scores(np.array([score for score, _ in found], np.float32), maps)

    def _build(self) -> None:
        with everything_seeded(self.seed, self.device):
            self.module, self._transform = build_module(self.config)
        self._fitted = False

    def _score(self, image: np.ndarray, index: int) -> tuple[float, np.ndarray]:
        size = self.config.image_size
        output = self.module.model(prepared(image, self._transform)[None].to(self.device))
        if not bool(torch.isfinite(output.pred_score).all()):
            seen = f"after {self._seen} good images" if self._seen else "without good images"
            raise GoodshotError(f"{self.config.label} gave a non-finite score for test image {index}, {seen}")
        if output.anomaly_map is None:
            return float(output.pred_score), np.full((size, size), np.nan, np.float32)
        anomaly_map = output.anomaly_map.reshape(1, 1, *output.anomaly_map.shape[-2:]).float()
        if anomaly_map.shape[-2:] != (size, size):
            anomaly_map = torch.nn.functional.interpolate(anomaly_map, (size, size), mode="bilinear")
        if not bool(torch.isfinite(anomaly_map).all()):
            raise GoodshotError(f"{self.config.label} gave a non-finite anomaly map for test image {index}")
        return float(output.pred_score), anomaly_map[0, 0].cpu().numpy()

    def _train(self, images: _GoodImages) -> None:
        with quiet_import():
            import lightning.pytorch as lightning

            data = _data_module(images, self.config, self.seed)
            if self.config.name == EFFICIENT_AD:
                _measure_the_teacher_once(self.module, data)
            with tempfile.TemporaryDirectory() as folder, _missing_weights_named(self.config.label):
                trainer = lightning.Trainer(
                    max_epochs=1,
                    limit_val_batches=0,
                    barebones=True,
                    accelerator="gpu" if self.device.type == "cuda" else "cpu",
                    devices=1,
                    default_root_dir=folder,
                    **{k: v for k, v in self.module.trainer_arguments.items() if k not in _OURS},
                )
                try:
                    trainer.fit(self.module, datamodule=data)
                except (ValueError, KeyError, ArithmeticError, RuntimeError, NotImplementedError) as error:
                    raise GoodshotError(
                        f"{self.config.label}: cannot be trained on these images ({_reason(error)})"
                    ) from error
                if self.config.name == EFFICIENT_AD:
                    _normalise_maps(self.module, data)


class _GoodImages(Dataset[Tensor]):
    """The training images as the model reads them, each transformed once."""

    def __init__(self, images: list[np.ndarray], transform: Any) -> None:
        self.images = [prepared(image, transform) for image in images]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


def prepared(image: np.ndarray, transform: Any) -> Tensor:
    """One uint8 RGB image (H, W, 3) → the model's input (3, S, S), by the model's own transform."""
    # A copy, because torch will not wrap read-only arrays (shared memory).
    # Contiguous, because the resize rounds otherwise where channels come last.
    tensor: Tensor = transform(torch.from_numpy(image.copy(order="C")).permute(2, 0, 1).contiguous().float() / 255)
    return tensor


def batches(count: int, config: DetectorConfig, seed: int) -> list[list[int]]:
    """Which images each step trains on: shuffled passes over all `count`, cut into `steps` batches.

    One pass in the images' order where `steps` is None. The last batch of a pass takes from the next pass what it
    lacks, so that every step has `batch_size` images.
    """
    if config.steps is None:
        return [list(range(i, min(i + config.batch_size, count))) for i in range(0, count, config.batch_size)]
    rng = np.random.default_rng((seed, 0xDE))
    passes = -(-config.steps * config.batch_size // count)
    order = [int(i) for _ in range(passes) for i in rng.permutation(count)]
    return [order[i * config.batch_size : (i + 1) * config.batch_size] for i in range(config.steps)]


def build_module(config: DetectorConfig) -> tuple[Any, Any]:
    """anomalib's Lightning module for a config, the embedded weights in its backbone, and its input transform.

    Raises `MissingWeights` where the model wants pretrained weights that are not here, `BadInput` for arguments that
    the model refuses.
    """
    model = find_model(config.name)
    with quiet_import(), _missing_weights_named(config.label):
        cls = getattr(importlib.import_module(model.module), model.cls)
        pre_processor = cls.configure_pre_processor((config.image_size, config.image_size))
        try:
            module = cls(
                **_arguments(config, model),
                pre_processor=pre_processor,
                post_processor=False,
                evaluator=False,
                visualizer=False,
            )
        except GoodshotError:
            raise
        except (TypeError, ValueError, KeyError, AssertionError, NotImplementedError) as error:
            raise BadInput(f"detector {config.label}: refuses its arguments ({_reason(error)})") from error
    # We transform images ourselves, once; as a callback it would do so again at every step.
    module.pre_processor = None
    if config.uses_backbone() == EMBEDDED_BACKBONE:
        _load_backbone(module, config)
    if config.learning_rate is not None:
        _with_learning_rate(module, config.learning_rate)
    return module, pre_processor.transform


def _arguments(config: DetectorConfig, model: Model) -> dict[str, Any]:
    arguments = dict(config.args)
    embedded = config.uses_backbone() == EMBEDDED_BACKBONE
    if config.backbone is not None and "backbone" in model.arguments:
        arguments["backbone"] = f"tf_{EMBEDDED_BACKBONE}" if embedded else config.backbone
    if config.layers is not None and "layers" in model.arguments and (embedded or "layers" in config.model_fields_set):
        arguments["layers"] = list(config.layers)
    if embedded:
        if "pre_trained" not in model.arguments:
            raise BadInput(f"detector {config.label}: fetches its backbone itself; it cannot use the embedded one")
        arguments["pre_trained"] = False
    return arguments


def _load_backbone(module: Any, config: DetectorConfig) -> None:
    """Put the embedded weights, strictly, into every network of the module that is such a backbone's part."""
    from components.weights import efficientnet_lite0_state_dict

    weights, loaded = efficientnet_lite0_state_dict(), 0
    for part in module.modules():
        wanted = part.state_dict().keys()
        if "conv_stem.weight" in wanted and wanted <= weights.keys():
            part.load_state_dict({key: weights[key] for key in wanted}, strict=True)
            loaded += 1
    if not loaded:
        raise BadInput(f"detector {config.label}: holds no network that takes the embedded backbone's weights")


def _with_learning_rate(module: Any, learning_rate: float) -> None:
    configure = module.configure_optimizers

    def configured() -> Any:
        found = configure()
        for optimiser in _optimisers(found):
            for group in optimiser.param_groups:
                group["lr"] = group["initial_lr"] = learning_rate
        return found

    module.configure_optimizers = configured


def _optimisers(found: Any) -> Iterator[torch.optim.Optimizer]:
    if isinstance(found, torch.optim.Optimizer):
        yield found
    elif isinstance(found, dict):
        yield from _optimisers(found["optimizer"])
    elif isinstance(found, list | tuple):
        for item in found:
            yield from _optimisers(item)


def _data_module(images: _GoodImages, config: DetectorConfig, seed: int) -> Any:
    import lightning.pytorch as lightning
    from anomalib.data import ImageBatch

    def collate(items: list[Tensor]) -> Any:
        return ImageBatch(image=torch.stack(items), gt_label=torch.zeros(len(items), dtype=torch.bool))

    class GoodImages(lightning.LightningDataModule):
        train_batch_size = config.batch_size

        def train_dataloader(self) -> DataLoader[Tensor]:
            order = batches(len(images), config, seed)
            return DataLoader(images, batch_sampler=order, collate_fn=collate)

        def each_once(self) -> DataLoader[Tensor]:
            return DataLoader(images, batch_size=1, collate_fn=collate)

    return GoodImages()


def _measure_the_teacher_once(module: Any, data: Any) -> None:
    """EfficientAD measures its teacher's channels on the train loader; ours repeats the images for all steps."""
    measure = module.teacher_channel_mean_std
    module.teacher_channel_mean_std = lambda loader: measure(data.each_once())


def _normalise_maps(module: Any, data: Any) -> None:
    """EfficientAD's quantiles (its eq. for combining maps) from the training images: no test normal takes part.

    anomalib takes them from validation images, which by default are the test's.
    """
    module.eval()
    module.model.quantiles.update(module.map_norm_quantiles(data.each_once()))


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


@contextmanager
def everything_seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch, numpy and Python's random, all of which some model draws from; the caller's states come back."""
    state = random.getstate()
    with ExitStack() as stack:
        stack.callback(random.setstate, state)
        stack.enter_context(seeded(seed, device))
        random.seed(seed)
        yield


@contextmanager
def _missing_weights_named(label: str) -> Iterator[None]:
    """A model that reaches for the network gets an error that says so, instead of its library's own."""
    try:
        yield
    except OSError as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise MissingWeights(
            f"detector {label}: its pretrained weights are not on this machine ({reason}); "
            "put them into the hub's cache from a machine with a network, or take a model on the embedded backbone"
        ) from error
