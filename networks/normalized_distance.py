"""How far a generator has come in its training: its distance to the real images, on a scale that needs no unit."""


def normalized_distance(distance: float, real_vs_real: float | None, untrained: float) -> float | None:
    """(d − r) / (d₀ − r): 1 for the untrained generator, 0 for real images.

    `real_vs_real` is the distance of real images to other real images. Fewer of them raise it, so that less than 0 is possible.
    None where it is unknown, or not below the untrained generator's distance.
    """
    if real_vs_real is None or not untrained > real_vs_real:
        return None
    return (distance - real_vs_real) / (untrained - real_vs_real)
