"""Adversarial training of a generator."""
