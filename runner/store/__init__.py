"""Where artifacts lie, whole or not at all, and what identifies them."""
