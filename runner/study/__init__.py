"""Studies: their validation, their presets, the points of their searches, and messages about wrong fields."""
