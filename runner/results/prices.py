"""What an hour of a machine costs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Prices:
    """The price of an hour of one GPU and of one CPU, in any one currency; None if it is not known."""

    gpu_hour: float | None = None
    cpu_hour: float | None = None

    def of(self, cpu_hours: float, gpu_hours: float) -> float | None:
        """The price of all hours, where a missing price counts as 0; None without any price."""
        if self.gpu_hour is None and self.cpu_hour is None:
            return None
        return gpu_hours * (self.gpu_hour or 0.0) + cpu_hours * (self.cpu_hour or 0.0)
