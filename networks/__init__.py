"""Floor 1: the networks. Imports only `torch_utils`."""
