"""goodshot's one installed package: `components`, `runner` and `experiments` are links to the repository's folders.

Without it the three would be top-level packages, and a user's own `runner.py` or `experiments/` would hide them.
"""
