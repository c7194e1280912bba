"""The method, in torch, pyarrow and anomalib. It imports neither ``runner`` nor ray nor wandb."""
