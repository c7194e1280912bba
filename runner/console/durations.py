"""Durations as people read them."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Format seconds, for example as ``45 s``, ``3 min`` or ``2 h 05 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"
