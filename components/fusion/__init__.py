"""AnomalyXFusion (METHOD B): defective images from a caption, a mask and images of real defects.

``config`` the options · ``mask_encoder`` the mask autoencoder · ``features`` the frozen encoder's features ·
``embeddings`` eq. 1–5 and 14 · ``codec``, ``linear``, ``base``, ``published`` the diffusion base · ``model`` ε_θ with
Table 6's switches · ``window`` the square about a mask · ``affine`` random maps · ``learning``, ``training`` eq. 17 ·
``sampling`` eq. 16 · ``fusion`` the complete method.
"""
