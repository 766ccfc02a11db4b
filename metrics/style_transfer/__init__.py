"""Measures of stylised images."""
