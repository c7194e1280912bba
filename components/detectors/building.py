"""anomalib's Lightning module for a configuration, with its pretrained weights and its input transform."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from goodshot.components.detectors.backbones import EMBEDDED_BACKBONE
from goodshot.components.detectors.base import Batch
from goodshot.components.detectors.config import DetectorConfig
from goodshot.components.detectors.families.anomalib_family import AnomalibFamily
from goodshot.components.detectors.preprocess import LITE0, as_float, middle, preprocess
from goodshot.components.detectors.pretrained import check_weights
from goodshot.components.detectors.quiet import quiet_import
from goodshot.components.errors import BadInput, GoodshotError, MissingWeights
from goodshot.components.weights import forbid_downloads

Transform = Callable[[Batch], Tensor]
"""One uint8 RGB image (H, W, 3) → the model's input, float32 (3, C, C)."""


def build_module(config: DetectorConfig, family: AnomalibFamily) -> tuple[Any, Transform]:
    """anomalib's Lightning module for a configuration, with pretrained weights in its networks, and its input
    transform.

    Raises `MissingWeights` if pretrained weights are missing, before any network is built; `BadInput` for arguments
    that the model refuses.
    """
    forbid_downloads()
    check_weights(config)
    model = family.model
    with quiet_import(), missing_weights_named(config.label), ExitStack() as stack:
        cls = getattr(importlib.import_module(model.module), model.cls)
        if config.weights == "random":
            stack.enter_context(_no_pretrained_weights())
        pre_processor = cls.configure_pre_processor((config.resolution, config.resolution))
        try:
            module = cls(
                **family.arguments(config),
                pre_processor=pre_processor,
                post_processor=False,
                evaluator=False,
                visualizer=False,
            )
        except GoodshotError:
            raise
        except (TypeError, ValueError, KeyError, AssertionError, NotImplementedError) as error:
            raise BadInput(f"detector {config.label}: refuses its arguments ({one_line(error)})") from error
        family.prepare(module, config)
    # Images are transformed once, outside the module; as a callback the transform would run again at every step.
    module.pre_processor = None
    if config.learning_rate is not None:
        _with_learning_rate(module, config.learning_rate)
    return module, _transform(config, family, pre_processor.transform)


@contextmanager
def missing_weights_named(label: str) -> Iterator[None]:
    """Replace a library's error about a failed download by `MissingWeights`."""
    try:
        yield
    except OSError as error:
        raise MissingWeights(
            f"detector {label}: its pretrained weights are not on this machine ({one_line(error)}); "
            "put them into the hub's cache from a machine with a network, or take a model on the embedded backbone"
        ) from error


def one_line(error: Exception) -> str:
    """An error's first line, or its type if the message is empty."""
    return (str(error) or type(error).__name__).splitlines()[0]


def _transform(config: DetectorConfig, family: AnomalibFamily, own: Any) -> Transform:
    """The model's own preprocessing; the embedded backbone's if that backbone reads the images itself."""
    if config.backbone == EMBEDDED_BACKBONE and family.embedded_reads_images:
        return lambda image: preprocess(image, config.image_size, config.crop, LITE0)[0]
    if config.crop is None:
        # Contiguous, because the resize rounds differently with channels last.
        return lambda image: own(as_float(image).contiguous())
    first = _resize_like(own, config.image_size)
    return lambda image: own(middle(first(as_float(image).contiguous()), config.crop))


def _resize_like(own: Any, size: int) -> Any:
    """The model's resize with another size; a following crop has its own size and is not changed."""
    from torchvision.transforms import v2

    found = [step for step in getattr(own, "transforms", [own]) if isinstance(step, v2.Resize)]
    mode = found[0].interpolation if found else v2.InterpolationMode.BILINEAR
    return v2.Resize((size, size), interpolation=mode, antialias=True)


@contextmanager
def _no_pretrained_weights() -> Iterator[None]:
    """Networks built inside keep their random weights; several models have no argument for this."""
    import open_clip
    import timm

    networks, clip = timm.create_model, open_clip.create_model_and_transforms
    timm.create_model = lambda *a, **k: networks(*a, **{**k, "pretrained": False})
    open_clip.create_model_and_transforms = lambda *a, **k: clip(*a, **{**k, "pretrained": None})
    try:
        yield
    finally:
        timm.create_model, open_clip.create_model_and_transforms = networks, clip


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
