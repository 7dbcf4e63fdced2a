"""The best linear unbiased prediction of an unseen combination's mean, from the means of the observed ones.

Legend: m combinations, c contexts, l levels, p partners (levels of contexts, contexts of levels).
"""

import numpy as np
from scipy.optimize import nnls

# Where the data cannot tell a common effect from one that is particular to a context, it is taken for common.
_TIE_BREAK = 1e-3
_JITTER = 1e-9


def best_linear_weights(
    gram_mm: np.ndarray, noise_m: np.ndarray, context_m: np.ndarray, level_m: np.ndarray, *, target: tuple[int, int]
) -> np.ndarray:
    r"""Weights on the observed means whose sum is the best guess of the mean at an unobserved level of a context.

    The model of the mean profile at level l of context c is

    .. math:: \mu_{cl} = u_c + v_l + w_{cl}, \quad \mathrm{Var}(v_l) = \sigma_v^2, \quad
        \mathrm{Cov}(w_{cl}, w_{c'l'}) = \sigma_w^2 B_C(c, c') B_L(l, l'),

    with fixed u: a level has an effect that is the same in all contexts, and one that is alike in contexts that are alike. B
    is the covariance of Brownian motion, whose increments have a variance equal to the distance D, centred:
    :math:`-\frac{1}{2} J D J`. Distances between two contexts are over the levels that the target's context has, those
    between two levels over the contexts that have the target's level. Both variances are those that fit the products of the
    observed means best, less their sampling noise, by non-negative least squares, where the effects in two contexts are never
    taken to be opposed. Given these, the weights are those of universal kriging; in the target's context they sum to 1, in
    each other context to 0.

    ``gram_mm`` has the inner products of the observed means, ``noise_m`` the expected squared error of each, summed over its
    entries; contexts and levels, also those of the target, are counted from 0.

    References
    ----------
    Henderson 1975, "Best linear unbiased estimation and prediction under a selection model"; Cressie 1993, "Statistics
    for spatial data", section 3.4 (universal kriging); Székely and Rizzo 2013, for distances as covariances.
    """
    n_observed, (context, level) = len(gram_mm), target
    n_contexts, n_levels = max(context_m.max(), context) + 1, max(level_m.max(), level) + 1
    position_cl = np.full((n_contexts, n_levels), -1)
    position_cl[context_m, level_m] = np.arange(n_observed)
    norm_m = np.diag(gram_mm)
    squared_mm = np.maximum(norm_m[:, None] + norm_m - 2 * gram_mm, 0)
    b_cc = _brownian(_mean_distances(squared_mm, position_cl, position_cl[context] >= 0))
    distance_ll = _mean_distances(squared_mm, position_cl.T, position_cl[:, level] >= 0)
    contexts, levels = np.append(context_m, context), np.append(level_m, level)
    common = (levels[:, None] == levels).astype(float)
    particular = b_cc[np.ix_(contexts, contexts)] * _brownian(distance_ll)[np.ix_(levels, levels)]
    # The least common effect beside which differences of two levels are not opposed in any two contexts.
    particular -= b_cc.min() * distance_ll.sum() / (2 * n_levels * (n_levels - 1)) * common

    fixed_mc = (context_m[:, None] == np.arange(n_contexts)).astype(float)
    covariance = _fit_covariance((common, particular), gram_mm - np.diag(noise_m), fixed_mc)
    return _kriging_weights(covariance, noise_m, fixed_mc, np.arange(n_contexts) == context)


def _mean_distances(squared_mm: np.ndarray, position_cp: np.ndarray, preferred_p: np.ndarray) -> np.ndarray:
    """Root mean squared distance between two rows over the partners that both have, the preferred ones if any."""
    total_cc, number_cc = np.zeros((2, 2, len(position_cp), len(position_cp)))
    for position_c, preferred in zip(position_cp.T, preferred_p, strict=True):
        rows = np.flatnonzero(position_c >= 0)
        here = (int(preferred), *np.ix_(rows, rows))
        total_cc[here] += squared_mm[np.ix_(position_c[rows], position_c[rows])]
        number_cc[here] += 1
    total, number = (np.where(number_cc[1] > 0, values[1], values[0]) for values in (total_cc, number_cc))
    mean = total / np.maximum(number, 1)
    # Nothing is known of two rows without a common partner: they are as far from each other as any.
    mean[number == 0] = mean.max()
    np.fill_diagonal(mean, 0)
    return np.sqrt(mean)


def _brownian(distance_cc: np.ndarray) -> np.ndarray:
    centring = np.eye(len(distance_cc)) - 1 / len(distance_cc)
    values, vectors = np.linalg.eigh(-centring @ distance_cc @ centring / 2)
    # Means over different partners need not be distances in any space: what is negative of them is dropped.
    return (vectors * np.maximum(values, 0)) @ vectors.T


def _fit_covariance(parts: tuple[np.ndarray, ...], gram_mm: np.ndarray, fixed_mc: np.ndarray) -> np.ndarray:
    """Sum of the parts, each times the variance that the products of the observed means within contexts suggest."""
    averaging_cm = fixed_mc.T / fixed_mc.sum(axis=0)[:, None]

    def within(a_mm: np.ndarray) -> np.ndarray:
        a_mm = a_mm - fixed_mc @ (averaging_cm @ a_mm)
        return a_mm - (a_mm @ averaging_cm.T) @ fixed_mc.T

    n_observed, observed = len(gram_mm), within(gram_mm)
    columns = [within(part[:n_observed, :n_observed]).ravel() for part in parts]
    sizes = [np.linalg.norm(column) or 1.0 for column in columns]
    matrix = np.stack([column / size for column, size in zip(columns, sizes, strict=True)], axis=1)
    penalty = [0.0] * (len(parts) - 1) + [_TIE_BREAK]
    scale = np.abs(observed).max() or 1.0
    found, _ = nnls(np.vstack([matrix, penalty]), np.append(observed.ravel() / scale, 0))
    return sum(value * scale / size * part for value, size, part in zip(found, sizes, parts, strict=True))


def _kriging_weights(
    covariance: np.ndarray, noise_m: np.ndarray, fixed_mc: np.ndarray, target_c: np.ndarray
) -> np.ndarray:
    """Weights of least expected error with the target's fixed effects; the target is the last row of the covariance."""
    n_observed, n_contexts = fixed_mc.shape
    own = covariance[:n_observed, :n_observed] + np.diag(noise_m)
    own += np.eye(n_observed) * _JITTER * (np.trace(own) or 1.0)
    system = np.block([[own, fixed_mc], [fixed_mc.T, np.zeros((n_contexts, n_contexts))]])
    return np.linalg.solve(system, np.append(covariance[:n_observed, -1], target_c))[:n_observed]
