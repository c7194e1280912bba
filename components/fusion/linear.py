"""The best prediction of the noise that is linear in x_t: a Wiener filter, known without training.

For images of second moment Σ(f) at frequency f, a C × C matrix over channels, it is

    ε̂(f) = √(1−ᾱ_t) (ᾱ_t Σ(f) + (1−ᾱ_t) I)⁻¹ x_t(f)

A small base adds it to its network's output, so that the network learns what is not linear: edges, marks, defects.

# B images, C channels, h × w positions, f frequencies of a real Fourier transform: h × (w // 2 + 1)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LinearPrediction(nn.Module):
    """The filter, which predicts nothing until :meth:`fit` has seen images.

    Args:
        grid: C, h, w.
        kept: ᾱ_t, (T,).
    """

    def __init__(self, grid: tuple[int, int, int], kept: Tensor) -> None:
        super().__init__()
        channels, height, width = grid
        self.kept: Tensor
        self.spectrum: Tensor
        self.register_buffer("kept", kept.float(), persistent=False)
        # Real and imaginary parts of Σ(f), because not every reader of safetensors knows complex numbers.
        self.register_buffer("spectrum", torch.zeros(height, width // 2 + 1, channels, channels, 2))
        self._solved: tuple[Tensor, Tensor] | None = None

    @torch.no_grad()
    def fit(self, encoded: Tensor) -> None:
        """Take Σ(f) from encoded good images (N, C, h, w)."""
        transformed = torch.fft.rfft2(encoded, norm="ortho")
        moment = torch.einsum("bchw,bdhw->hwcd", transformed, transformed.conj()) / len(encoded)
        self.spectrum.copy_(torch.view_as_real(moment))
        self._solved = None

    def forward(self, x_t: Tensor, timesteps: Tensor) -> Tensor:
        """x_t (B, C, h, w), timesteps (B,) → ε̂ (B, C, h, w), in fp32 even within mixed precision."""
        with torch.autocast(x_t.device.type, enabled=False):
            basis, power = self._basis()
            kept = self.kept[timesteps].view(-1, 1, 1, 1)
            transformed = torch.fft.rfft2(x_t.float(), norm="ortho")
            turned = torch.einsum("hwck,bchw->bhwk", basis.conj(), transformed)
            filtered = turned * ((1 - kept).sqrt() / (kept * power + 1 - kept))
            back = torch.einsum("hwck,bhwk->bchw", basis, filtered)
            return torch.fft.irfft2(back, s=x_t.shape[-2:], norm="ortho")

    def _basis(self) -> tuple[Tensor, Tensor]:
        """Eigenvectors (h, f, C, C) and eigenvalues (h, f, C) of Σ(f): with them, a filter of any t is a product."""
        if self._solved is None or self._solved[0].device != self.spectrum.device:
            # On the CPU, so that every device filters by the same basis.
            power, basis = torch.linalg.eigh(torch.view_as_complex(self.spectrum.cpu()))
            self._solved = basis.to(self.spectrum.device), power.clamp(min=0).to(self.spectrum.device)
        return self._solved

    def _load_from_state_dict(self, *args: object, **options: object) -> None:
        super()._load_from_state_dict(*args, **options)  # type: ignore[arg-type]
        self._solved = None
