"""What `python -m scripts.bench` can compare, a file each, and what they share: timing, taking turns, other processes."""
