"""Write a W&B run for each point of a study, in a process on the driver's machine that follows the results."""
