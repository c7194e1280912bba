"""The commands ``generate`` and ``prompts``, which work on a user's own photographs without a study."""
