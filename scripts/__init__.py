"""Floor 3: tools around the networks. Run as `python -m scripts.NAME` or `python scripts/NAME.py`."""
