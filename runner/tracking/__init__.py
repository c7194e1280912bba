"""W&B: a run for each point of a study, written by a process of the driver's machine that follows the results."""
