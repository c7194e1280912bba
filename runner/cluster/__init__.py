"""Run stages and cells on a Ray cluster."""
