"""What every training run needs, whatever it trains."""
