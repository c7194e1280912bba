"""Declared studies: one module per table, figure or use. A study is a function that returns a ``Study``."""
