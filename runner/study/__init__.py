"""What is declared: a study, its search, its presets, and what is wrong with it."""
