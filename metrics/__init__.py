"""Floor 2: scores. Takes iterables of uint8 batches and a detector; never imports `training`."""
