"""Stages: computations whose results are made once and kept in the store."""
