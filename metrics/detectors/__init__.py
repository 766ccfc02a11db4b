"""Feature extractors: frozen networks that turn images into feature vectors."""
