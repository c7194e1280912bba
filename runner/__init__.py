"""The cluster. The only place that imports ray, ray.tune and wandb."""
