"""The best prediction of the noise that is linear in x_t: a Wiener filter, known without training.

For images of second moment Σ(f) at frequency f, a C × C matrix over channels with eigenvalues λ, it is

    ε̂(f) = √(1−ᾱ_t) (ᾱ_t Σ(f) + (1−ᾱ_t) I)⁻¹ x_t(f),   and   ᾱ_t λ / (ᾱ_t λ + 1 − ᾱ_t)

remains of the noise's variance. A small base adds the filter to its network's output, in units of what remains, so that
the network learns only what is not linear (edges, marks, defects), at every timestep on the same scale.

# B images, C channels, h × w positions, f frequencies of a real Fourier transform: h × (w // 2 + 1), T timesteps
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

LEAST = 1e-4
"""Lower bound of the remaining variance. Near t = T the filter predicts almost all of the noise, and a smaller unit
would weight the network's errors there without bound."""


class Solved(NamedTuple):
    """Eigenvectors (h, f, C, C) and eigenvalues (h, f, C) of Σ(f), and the variance that remains at each t, (T,)."""

    basis: Tensor
    power: Tensor
    remaining: Tensor


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
        self._width = width
        self.register_buffer("kept", kept.float(), persistent=False)
        # Real and imaginary parts of Σ(f), because not every reader of safetensors knows complex numbers. In float64,
        # because its eigenvalues differ by many orders and the smallest decide at little noise.
        shape = (height, width // 2 + 1, channels, channels, 2)
        self.register_buffer("spectrum", torch.zeros(shape, dtype=torch.float64))
        self._solved: Solved | None = None

    @torch.no_grad()
    def fit(self, encoded: Tensor) -> None:
        """Take Σ(f) from encoded images (N, C, h, w): good ones, or the defective ones that are learned next."""
        transformed = torch.fft.rfft2(encoded.double(), norm="ortho")
        moment = torch.einsum("bchw,bdhw->hwcd", transformed, transformed.conj()) / len(encoded)
        self.spectrum.copy_(torch.view_as_real(moment))
        self._solved = None

    def forward(self, x_t: Tensor, timesteps: Tensor) -> Tensor:
        """x_t (B, C, h, w), timesteps (B,) → ε̂ (B, C, h, w), in fp32 even within mixed precision."""
        with torch.autocast(x_t.device.type, enabled=False):
            basis, power, _ = self._of_spectrum()
            kept = self.kept[timesteps].view(-1, 1, 1, 1)
            transformed = torch.fft.rfft2(x_t.float(), norm="ortho")
            turned = torch.einsum("hwck,bchw->bhwk", basis.conj(), transformed)
            filtered = turned * ((1 - kept).sqrt() / (kept * power + 1 - kept))
            back = torch.einsum("hwck,bhwk->bchw", basis, filtered)
            predicted: Tensor = torch.fft.irfft2(back, s=x_t.shape[-2:], norm="ortho")
            return predicted

    def remaining(self, timesteps: Tensor) -> Tensor:
        """Return the expected mean square of ε − ε̂ on such images at the timesteps (B,), in (0, 1]: (B,)."""
        return self._of_spectrum().remaining[timesteps]

    def _of_spectrum(self) -> Solved:
        if self._solved is None or self._solved.basis.device != self.spectrum.device:
            # On the CPU, so that every device filters by the same basis.
            moment = torch.view_as_complex(self.spectrum.cpu())
            solved = _solve(moment, self.kept.cpu().double(), self._width)
            self._solved = Solved(*(part.to(self.spectrum.device) for part in solved))
        return self._solved

    def _load_from_state_dict(self, *args: object, **options: object) -> None:
        super()._load_from_state_dict(*args, **options)  # type: ignore[arg-type]
        self._solved = None


def _solve(moment: Tensor, kept: Tensor, width: int) -> Solved:
    """Solve for all t at once. moment: Σ(f), complex (h, f, C, C). kept: (T,). width: w, of which f = w // 2 + 1."""
    power, basis = torch.linalg.eigh(moment)
    power = power.clamp(min=0)
    # A real transform leaves out the columns that mirror others: all but the first, and the last of an even width.
    counts = torch.full((moment.shape[1], 1), 2.0, dtype=torch.float64)
    counts[0] = 1
    if width % 2 == 0:
        counts[-1] = 1
    remaining = [float((k * power / (k * power + 1 - k) * counts).mean() / counts.mean()) for k in kept]
    return Solved(basis.to(torch.complex64), power.float(), torch.tensor(remaining).clamp(min=LEAST))
