"""The variance-aware image generator (§4.1.2, §4.2): a VQGAN that learns one product's variance and samples from it.

``config`` what a generator is · ``augment`` plain augmentation · ``vqgan`` the network · ``latent`` eq. 3 ·
``losses`` eq. 6 and the parts of L_vq · ``objective`` eq. 7 · ``generator`` the training loop and sampling ·
``vqgan_clip`` the comparator of Table 1, on the same network.
"""
