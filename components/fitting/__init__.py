"""Fitting a network to labelled images: the part that segmenters and classifiers have in common.

``config`` the options · ``inputs`` images as a network reads them, augmented by (seed, step, slot) · ``fitting`` the
loop: exact continuation, bf16, and the choice of a checkpoint on validation images.
"""
