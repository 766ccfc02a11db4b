"""One number for style and content together, and the ranks of those that neither trivial picture beats."""

from collections.abc import Mapping


def combined_distance(style, content, style_of_content, content_of_style):
    """style / style_of_content + content / content_of_style, of floats or of arrays.

    Each distance in parts of the one that it takes no work to reach: the style distance of the unchanged content, and the
    content distance of the style image. Both of these pictures have 1, an ideal transfer 0. A sum, since pasting the two
    together, or one over the other, does not get below 1 with it.
    """
    return style / style_of_content + content / content_of_style


def ranks(combined: Mapping[str, float]) -> dict[str, int | None]:
    """1 for the smallest combined distance; equal ones share a rank. None from 1 up, where a trivial picture is as good."""
    ranked = [value for value in combined.values() if value < 1]  # NaN is not
    return {name: 1 + sum(other < value for other in ranked) if value < 1 else None for name, value in combined.items()}
