"""Localisation of defects by a U-Net that is trained on made defective images with their masks (Table 3).

``config`` the options, read without torch · ``unet`` · ``losses`` · ``training`` the segmenter.
"""
