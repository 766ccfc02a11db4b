"""The experiments that the documents report."""
