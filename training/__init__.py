"""Floor 2: data, losses and the training loop. Imports `networks` and `torch_utils`, never `metrics`."""
