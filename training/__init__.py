"""Parts of a training step and of an epoch: update, averages, non-finite steps, batch norm, profile."""
