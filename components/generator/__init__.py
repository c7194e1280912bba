"""The variance-aware image generator (§4.1.2, §4.2): a VQGAN that learns one product's variance and samples from it.

``config`` the options of a generator · ``augment`` plain augmentation · ``vqgan`` the network · ``start`` its initial
weights · ``start_file`` the file that they come from · ``batch`` the inputs of a step · ``latent`` eq. 3 · ``losses``,
``lpips``, ``discriminator`` eq. 6, the parts of L_vq · ``objective`` eq. 7 · ``training`` gradients, updates, undoing
an update · ``generator`` all together · ``vqgan_clip`` the comparator of Table 1, on the same network.
"""
