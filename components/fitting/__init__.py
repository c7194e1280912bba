"""Fitting a network to labelled images: what training a segmenter and training a classifier have in common.

``config`` the options · ``inputs`` images as a network reads them, augmented by (seed, step, slot) · ``fitting`` the
loop: exact continuation, bf16, and the choice of a checkpoint on validation images.
"""
