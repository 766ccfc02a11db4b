"""Training of a style transfer."""
