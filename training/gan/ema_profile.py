"""Power-function averages of weights, and any one of them from snapshots of two others (Karras et al. 2024, EDM2, section 3).

An average at t images weighs the weights at τ by its profile p(τ) = (γ + 1) τ^γ / t^(γ + 1), 0 ≤ τ ≤ t. Its width is the
profile's standard deviation divided by t, σ_rel: the average forgets in proportion to the length of the run.
"""

import numpy as np

WIDTHS = (0.05, 0.10)  # of the averages that are kept, the paper's
MAX_WIDTH = 0.28  # below that of γ = 0, the plain mean


def exponent(width: float) -> float:
    """γ of a width: of the roots of (γ + 2)² (γ + 3) = (γ + 1) / σ_rel², the positive one. `ValueError` where there is none."""
    if not 0 < width <= MAX_WIDTH:
        raise ValueError(f"found a width of {width:g}, wanted one above 0 to {MAX_WIDTH}")
    inverse = width**-2
    return float(np.roots([1, 7, 16 - inverse, 12 - inverse]).real.max())


def kept(width: float, nimg: int, batch: int) -> float:
    """β(t) = (1 − Δt / t)^(γ + 1): the part of an average that stays in a step of `batch` images after which t = `nimg`."""
    return (1 - batch / nimg) ** (exponent(width) + 1)


def inner_product(t1, gamma1, t2, gamma2):
    """∫ p₁ p₂ of profiles with the exponents γ₁, γ₂ that end at t₁, t₂; arrays are broadcast.

    The product is a power of τ up to the earlier end, so that with γ the exponent of the profile that ends later,
    ⟨p₁, p₂⟩ = (γ₁ + 1) (γ₂ + 1) / (γ₁ + γ₂ + 1) · (min t / max t)^γ / max t.
    """
    first, last = np.minimum(t1, t2), np.maximum(t1, t2)
    later = np.where(np.greater(t1, t2), gamma1, gamma2)
    factor = (gamma1 + 1) * (gamma2 + 1) / (gamma1 + gamma2 + 1)
    return factor * (first / last) ** later / last


def fit(times, widths, nimg: float, width: float) -> tuple[np.ndarray, float]:
    """Coefficients [n] with which averages of these times and widths [n] add up to that of `width` at `nimg` images.

    The least-squares fit of the profiles (appendix C), and what it misses: ‖p − Σ x_i p_i‖ / ‖p‖. In addition to the paper,
    Σ x_i = 1 holds exactly: with few snapshots the free fit would make all weights several per cent smaller.
    """
    if min(times) <= 0:
        raise ValueError("found an average of no images")
    times, exponents, gamma = np.array(times) / nimg, np.array([exponent(w) for w in widths]), exponent(width)
    A = inner_product(times[:, None], exponents[:, None], times, exponents)
    b = inner_product(times, exponents, 1.0, gamma)
    one = np.ones((len(b), 1))
    x = np.linalg.lstsq(np.block([[A, one], [one.T, np.zeros((1, 1))]]), np.append(b, 1.0), rcond=None)[0][:-1]  # Lagrange
    whole = inner_product(1.0, gamma, 1.0, gamma)
    return x, float(np.sqrt(max(whole - 2 * x @ b + x @ A @ x, 0) / whole))
