"""AnomalyXFusion of one product: learn its defects, make new ones on good images."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from copy import deepcopy

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray

from goodshot.components.defects.images import DefectImages, Site
from goodshot.components.encoders.base import computing_in
from goodshot.components.errors import BadInput
from goodshot.components.fusion.base import Base
from goodshot.components.fusion.codec import PublishedCodec
from goodshot.components.fusion.config import FusionConfig, SamplingConfig
from goodshot.components.fusion.embeddings import initial_tokens
from goodshot.components.fusion.features import DefectFeatures
from goodshot.components.fusion.mask_encoder import MaskAutoencoder, encoder_masks
from goodshot.components.fusion.model import Condition, FusionModel
from goodshot.components.fusion.sampling import blended, build_sampler, composed, generators_of
from goodshot.components.fusion.training import Pairs, fusion_training, mask_at
from goodshot.components.fusion.window import to_image, window_about


class Fusion:
    """A fusion model with its training and the defects that it learns from.

    Args:
        config: the options.
        defects: the real defective images that may be seen, the training third's.
        features: their features (``features_of``), which may come from a cache.
        seed: determines initial weights and every step.
        base: the diffusion base, trained. With ``trains: all``, a copy of the base is trained.
        autoencoder: the mask autoencoder, trained. A copy of its encoder is fine-tuned.
        device: torch device. Bit-exact continuation holds on the CPU with a fixed thread count.

    Raises:
        BadInput: a defect without a mask, a base for another resolution, or a published base that is to be trained.
    """

    def __init__(
        self,
        config: FusionConfig,
        defects: DefectImages,
        features: DefectFeatures,
        seed: int,
        base: Base,
        autoencoder: MaskAutoencoder,
        device: str = "cpu",
    ) -> None:
        _check(config, defects, base)
        self.config, self.defects, self.features, self.seed = config, defects, features, seed
        self.kinds = tuple(sorted(set(defects.types)))
        types = np.array([self.kinds.index(kind) for kind in defects.types])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            initial = initial_tokens(features.image, types, config.tokens, seed)
            mine = deepcopy(base) if config.trains == "all" else base
            model = FusionModel(config, mine, deepcopy(autoencoder.encoder), initial)
        accelerator = Accelerator(cpu=device == "cpu")
        pairs = Pairs.of(defects, features, self.kinds, config.resolution, config.window)
        self.training = fusion_training(model, config, pairs, seed, accelerator)

    @property
    def iteration(self) -> int:
        """The number of steps made."""
        return self.training.iteration

    def train(self, to: int) -> list[float]:
        """Train until ``to`` steps are made; returns the losses of the steps made now (eq. 17, weighted).

        Raises :class:`GoodshotError` if the loss is repeatedly not finite.
        """
        return self.training.train(to)

    def state(self) -> bytes:
        """The state of the training, as safetensors, without the weights of a frozen base."""
        return self.training.state()

    def load(self, state: bytes) -> None:
        """Continue from :meth:`state`. Raises :class:`BadInput` if it was saved with other options."""
        self.training.load(state)

    def parameters_by_part(self) -> dict[str, int]:
        """The number of parameters of each part (Table 6's switches remove parts)."""
        return self.training.network.parameters_by_part()

    def generate(
        self,
        sites: Sequence[Site],
        goods: NDArray[np.uint8],
        seed: int,
        indices: Sequence[int] | None = None,
        sampling: SamplingConfig | None = None,
    ) -> NDArray[np.uint8]:
        """Defective images at these sites.

        Args:
            sites: where each image is made; ``source`` is an index into the defects that were learned.
            goods: uint8 RGB (K, S, S, 3), the good images.
            seed: determines the noise.
            indices: the index of each image among all that are made with this seed; by default 0, 1, ….
            sampling: the sampling options, by default the configuration's. A training can be sampled with any options.

        Returns:
            uint8 RGB (n, S, S, 3). Image i is a function of (seed, i), its site and the weights, whatever images are
            made with it, because batches always have ``sampling.batch`` images, the last one padded. Outside its mask
            it equals the good image.
        """
        numbers = list(range(len(sites)) if indices is None else indices)
        sampling = sampling or self.config.sampling
        size, made = sampling.batch, [goods[:0]]
        with self.training.averaged() as model, torch.no_grad():
            for start in range(0, len(sites), size):
                chunk, chosen = list(sites[start : start + size]), numbers[start : start + size]
                padding = size - len(chunk)
                own, noise = chunk + chunk[-1:] * padding, chosen + chosen[-1:] * padding
                images = self._made(model, own, goods, generators_of(seed, noise), sampling)
                made.append(images[: len(chunk)])
        return np.concatenate(made)

    def _made(
        self,
        model: FusionModel,
        sites: Sequence[Site],
        goods: NDArray[np.uint8],
        noise: list[torch.Generator],
        sampling: SamplingConfig,
    ) -> NDArray[np.uint8]:
        device, base = self.training.accelerator.device, model.base
        windows = [window_about(site.mask, self.config.window) for site in sites]
        masks = [window.of(site.mask) for window, site in zip(windows, sites, strict=True)]
        parts = [window.of(goods[site.good]) for window, site in zip(windows, sites, strict=True)]
        on_grid = torch.stack([mask_at(mask, base.grid[1]) for mask in masks]).to(device)
        with computing_in(self.config.precision, device):
            x_0 = base.encode(torch.stack([to_image(part, base.resolution) for part in parts]).to(device))
            x_embedding = model.x_embedding(self._condition(sites, masks))

            def predict(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
                times = t.to(device).expand(len(x_t))
                noise: torch.Tensor = base(x_t, times, model.embedding_at(x_embedding, times))
                return noise.float()

            sampler = build_sampler(base, sampling)
            (last,) = deque(blended(predict, x_0, on_grid, sampler, noise), maxlen=1)
            made = base.decode(last.x)
            rebuilt = base.decode(x_0) if sampling.detail == "residual" else [None] * len(sites)
        each = zip(sites, windows, made, rebuilt, strict=True)
        return np.stack([composed(goods[site.good], site.mask, *rest) for site, *rest in each])

    def _condition(self, sites: Sequence[Site], masks: Sequence[NDArray[np.bool_]]) -> Condition:
        sources = [site.source for site in sites]
        types = [self.kinds.index(self.defects.types[source]) for source in sources]
        parts = torch.from_numpy(self.features.text[sources]), encoder_masks(masks), torch.tensor(types)
        return Condition(*(part.to(self.training.accelerator.device) for part in parts))


def _check(config: FusionConfig, defects: DefectImages, base: Base) -> None:
    if not len(defects):
        raise BadInput("fusion: no defective image given; give at least one with its mask")
    if base.resolution != config.resolution:
        raise BadInput(f"fusion: resolution = {config.resolution}, but the base was made for {base.resolution} pixels")
    if config.trains == "all" and isinstance(base.codec, PublishedCodec):
        raise BadInput(f"fusion: base = {config.base} is a published one, which is frozen; set trains=embeddings")
    if empty := [i for i in range(len(defects)) if not defects.masks[i].any()]:
        raise BadInput(f"fusion: the mask of defective image {empty[0]} ({defects.types[empty[0]]}) is empty")
