"""Fréchet distance between two Gaussians.

Dowson and Landau, "The Fréchet distance between multivariate normal distributions", 1982, equation 4; proposed for the
features of images by Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium", 2017.
"""

import numpy as np
import scipy.linalg


def frechet_distance(
    mu1: np.ndarray,
    sigma1: np.ndarray,
    mu2: np.ndarray,
    sigma2: np.ndarray,
    factor1: np.ndarray | None = None,
    factor2: np.ndarray | None = None,
) -> float:
    """||mu1 - mu2||^2 + Tr(sigma1 + sigma2 - 2 (sigma1 sigma2)^(1/2)), for means [D] and covariances [D, D].

    A covariance may be singular. A factor is any F [D, R] with F F^T = sigma, for callers that have one: `factor(sigma1)` where
    many are compared with the first; the centred samples, where there are fewer of them than dimensions. Raises `ValueError`
    for shapes that do not fit, for values that are not finite and for matrices that are not symmetric.
    """
    mu1, sigma1 = _gaussian("1", mu1, sigma1)
    mu2, sigma2 = _gaussian("2", mu2, sigma2)
    if mu1.shape != mu2.shape:
        raise ValueError(f"mu1 has {len(mu1)} dimensions and mu2 has {len(mu2)}")
    # With sigma1 = F F^T, the non-zero eigenvalues of sigma1 sigma2 are those of F^T sigma2 F. That one is symmetric, so it
    # has none that are complex or badly conditioned, as a square root of the product itself would.
    f = factor(sigma1) if factor1 is None else factor1
    if factor2 is None:
        eigenvalues = scipy.linalg.eigvalsh(f.T @ sigma2 @ f, check_finite=False)
        cross = np.sqrt(np.clip(eigenvalues, 0, None)).sum()
    else:  # the square roots of those eigenvalues are the singular values of F1^T F2, a smaller matrix
        cross = scipy.linalg.svdvals(f.T @ factor2, check_finite=False).sum()
    distance = np.square(mu1 - mu2).sum() + np.trace(sigma1) + np.trace(sigma2) - 2 * cross
    return max(float(distance), 0.0)  # rounding can bring equal Gaussians below zero


def factor(sigma: np.ndarray) -> np.ndarray:
    """F [D, R] with F F^T = sigma [D, D], R its numerical rank.

    Eigenvalues that rounding alone can make are dropped: the square root would lift them from 1e-16 to 1e-8, each.
    """
    eigenvalues, vectors = scipy.linalg.eigh(sigma, check_finite=False)
    kept = eigenvalues > len(sigma) * np.finfo(np.float64).eps * max(eigenvalues[-1], 0.0)
    return vectors[:, kept] * np.sqrt(eigenvalues[kept])


def _gaussian(which: str, mu: np.ndarray, sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mu, sigma = np.asarray(mu, dtype=np.float64), np.asarray(sigma, dtype=np.float64)
    if mu.ndim != 1 or sigma.shape != (len(mu), len(mu)) or len(mu) == 0:
        raise ValueError(f"mu{which} and sigma{which} should be [D] and [D, D], not {list(mu.shape)} and {list(sigma.shape)}")
    if not (np.isfinite(mu).all() and np.isfinite(sigma).all()):
        raise ValueError(f"mu{which} or sigma{which} is not finite")
    if not np.allclose(sigma, sigma.T, rtol=1e-6, atol=1e-6 * np.abs(sigma).max()):
        raise ValueError(f"sigma{which} is not symmetric")
    return mu, sigma
