"""Which cells and stages a study is, what identifies them, and what they cost."""
