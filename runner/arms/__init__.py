"""Where the images come from that a detector is trained on besides its originals."""
