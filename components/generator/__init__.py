"""The variance-aware image generator (§4.1.2, §4.2): a VQGAN that learns one product's variance and samples from it.

``config`` what a generator is · ``augment`` plain augmentation · ``vqgan`` the network · ``start`` weights to start
from · ``batch`` what goes into a step · ``latent`` eq. 3 · ``losses``, ``lpips``, ``discriminator`` eq. 6, the parts
of L_vq · ``objective`` eq. 7 · ``training`` gradients, updates, taking one back · ``generator`` all together ·
``vqgan_clip`` the comparator of Table 1, on the same network.
"""
