"""Plan studies: their cells and stages, the identity and cost of these, and how many run at once."""
