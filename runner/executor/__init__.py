"""Running stages and cells: what every executor keeps account of, and the executor of this process."""
