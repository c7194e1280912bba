"""The price of an hour of a machine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Prices:
    """The price of an hour of one GPU and of one CPU, in any one currency; None if it is not known."""

    gpu_hour: float | None = None
    cpu_hour: float | None = None

    def of(self, cpu_hours: float, gpu_hours: float) -> float | None:
        """Return the price of all hours, where an unknown price counts as 0; None if both prices are unknown."""
        if self.gpu_hour is None and self.cpu_hour is None:
            return None
        return gpu_hours * (self.gpu_hour or 0.0) + cpu_hours * (self.cpu_hour or 0.0)
