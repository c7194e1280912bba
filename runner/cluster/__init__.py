"""Stages and cells on a Ray cluster."""
