"""The method. Pure torch, pyarrow and anomalib: imports nothing of ``runner``, no ray, no wandb."""
