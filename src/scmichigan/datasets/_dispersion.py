r"""How much the counts of genes vary beyond Poisson: the dispersion common to all genes, and its spread between genes.

Counts are negative binomial with variance :math:`\mu + \phi \mu^2`, :math:`\mu` the cell's total times a factor of the
gene.

Legend: n cells, g genes, i dispersions on a grid.
"""

import numpy as np
from scipy import sparse
from scipy.interpolate import CubicSpline
from scipy.optimize import brentq
from scipy.special import digamma, gammaln, polygamma

from scmichigan._arrays import in_chunks

_LEAST_COUNTS = 5  # of a gene; fewer say nothing of its dispersion
_GRID = 0.1 * 2.0 ** np.arange(-10, 11)
_FINE = np.linspace(-10, 10, 20 * 128 + 1)  # powers of two
_PRIOR_COUNT = 2
_LEAST_MEAN = 1e-4  # a cell that expects less and has none is no observation
_BLOCK = 2**17  # values in each array: small enough for a processor's cache
_MAX_ITERATIONS = 50


def dispersion(counts: np.ndarray | sparse.sparray) -> tuple[float, float]:
    r"""Common dispersion :math:`\phi` of all genes, and prior degrees of freedom of the dispersions of single genes.

    The first maximises the sum of the genes' adjusted profile likelihoods. For the second, each gene is given the
    dispersion of genes of similar expression. If this were its own, its deviance divided by its degrees of freedom
    would be scaled chi-squared. Its logarithm varies more, as that of a scaled F distribution does. The second degrees
    of freedom of that distribution are returned, infinite if there is no more variation. Counts are cells x genes.

    References
    ----------
    As of :func:`estimate_splatter`; Smyth 2004, "Linear models and empirical Bayes methods for assessing differential
    expression in microarray experiments", section 6.2.
    """
    counts = sparse.csc_array(counts).astype(float)
    library_n = counts.sum(axis=1)
    counts = counts[library_n > 0][:, counts.sum(axis=0) >= _LEAST_COUNTS]
    library_n = library_n[library_n > 0]
    if counts.shape[0] < 2 or not counts.shape[1]:
        raise ValueError(
            f"{counts.shape[0]} cells have counts, and {counts.shape[1]} genes have {_LEAST_COUNTS} or more: dispersions "
            "need at least two such cells and one such gene"
        )
    blocks = in_chunks(counts.shape[1], max(1, _BLOCK // counts.shape[0]))
    profile_gi = np.concatenate([_profiles(counts[:, block].toarray(), library_n) for block in blocks])
    expression_g = np.log2(counts.mean(axis=0) + _PRIOR_COUNT)
    trend_g = _maximum(_smooth(profile_gi, expression_g))
    deviance_g, df_g = np.concatenate(
        [_deviances(counts[:, block].toarray(), library_n, trend_g[block]) for block in blocks], axis=1
    )
    return float(_maximum(profile_gi.sum(axis=0)[None])[0]), _prior_df(deviance_g, df_g, expression_g)


def _profiles(counts_ng, library_n) -> np.ndarray:
    """Adjusted profile log-likelihood of each gene at each dispersion, without the terms that depend on neither."""
    total_g = counts_ng.sum(axis=0)
    log_rate_g = np.log(total_g / library_n.sum())
    profile_gi = _of_counts(counts_ng)
    for i, phi in enumerate(_GRID):
        log_rate_g = _fit(counts_ng, library_n, phi, start=log_rate_g)
        weight_ng, information_g = _weights(log_rate_g, library_n, phi)
        log_weight_ng = np.log(weight_ng, out=weight_ng)
        profile_gi[:, i] += (
            total_g * (np.log(phi) + log_rate_g)
            + np.einsum("ng,ng->g", counts_ng, log_weight_ng)
            + log_weight_ng.sum(axis=0) / phi
            - np.log(information_g) / 2
        )
    return profile_gi


def _of_counts(counts_ng) -> np.ndarray:
    """Sums of the terms that depend on a count and the dispersion alone: computed once for each count that occurs."""
    value, code = np.unique(counts_ng, return_inverse=True)
    gene = np.broadcast_to(np.arange(counts_ng.shape[1]), counts_ng.shape).ravel()
    often_gv = sparse.coo_array((np.ones(gene.size), (gene, code.ravel()))).tocsr()
    return often_gv @ (gammaln(value[:, None] + 1 / _GRID) - gammaln(1 / _GRID))


def _fit(counts_ng, library_n, phi, *, start) -> np.ndarray:
    """Logarithm of the genes' rates by Fisher scoring; the likelihood is concave in it."""
    log_rate_g = start
    for _ in range(_MAX_ITERATIONS):
        weight_ng, information_g = _weights(log_rate_g, library_n, phi)
        step_g = np.einsum("ng,ng->g", weight_ng, counts_ng) / information_g - 1
        log_rate_g = log_rate_g + step_g
        if np.abs(step_g).max() < 1e-7:
            break
    return log_rate_g


def _weights(log_rate_g, library_n, phi) -> tuple[np.ndarray, np.ndarray]:
    r"""Weight :math:`1 / (1 + \phi \mu)` of each count, and the sums of weight times mean: the information."""
    mean_ng = np.exp(log_rate_g) * library_n[:, None]
    weight_ng = phi * mean_ng
    weight_ng += 1
    np.reciprocal(weight_ng, out=weight_ng)
    return weight_ng, np.einsum("ng,ng->g", weight_ng, mean_ng)


def _smooth(profile_gi, expression_g) -> np.ndarray:
    """Profiles averaged over the nearest fraction of genes in expression, with tricube weights."""
    n = expression_g.size
    fraction = 1 if n <= 50 else 0.25 + 0.75 * np.sqrt(50 / n)
    nearest = min(n - 1, int(fraction * n))
    smoothed_gi = np.empty_like(profile_gi)
    for block in in_chunks(n, max(1, _BLOCK // n)):
        distance = np.abs(expression_g[block, None] - expression_g)
        reach = np.maximum(np.partition(distance, nearest, axis=1)[:, nearest], np.finfo(float).tiny)
        weight = (1 - np.minimum(distance / reach[:, None], 1) ** 3) ** 3
        smoothed_gi[block] = weight @ profile_gi / weight.sum(axis=1, keepdims=True)
    return smoothed_gi


def _maximum(profile_gi) -> np.ndarray:
    """Dispersions at which the interpolated profiles are largest."""
    spline = CubicSpline(np.log2(_GRID / 0.1), profile_gi, axis=1)
    return 0.1 * 2 ** _FINE[spline(_FINE).argmax(axis=1)]


def _deviances(counts_ng, library_n, phi_g) -> tuple[np.ndarray, np.ndarray]:
    """Deviance of each gene at its dispersion, and degrees of freedom."""
    start = np.log(counts_ng.sum(axis=0) / library_n.sum())
    mean_ng = np.exp(_fit(counts_ng, library_n, phi_g, start=start)) * library_n[:, None]
    ratio_ng = np.where(counts_ng > 0, counts_ng / mean_ng, 1)
    deviance_g = 2 * (
        counts_ng * np.log(ratio_ng) - (counts_ng + 1 / phi_g) * np.log((1 + phi_g * counts_ng) / (1 + phi_g * mean_ng))
    ).sum(axis=0)
    return deviance_g, len(counts_ng) - 1 - ((mean_ng < _LEAST_MEAN) & (counts_ng == 0)).sum(axis=0)


def _prior_df(deviance_g, df_g, expression_g) -> float:
    known = df_g > 0
    deviance_g, df_g, expression_g = deviance_g[known], df_g[known], expression_g[known]
    trend = _trend_basis(expression_g)
    variance_g = deviance_g / df_g
    if len(trend) <= trend.shape[1] or not np.median(variance_g) > 0:
        return np.inf
    variance_g = np.maximum(variance_g, 1e-5 * np.median(variance_g))
    log_variance_g = np.log(variance_g) - digamma(df_g / 2) + np.log(df_g / 2)
    coefficients, _, rank, _ = np.linalg.lstsq(trend, log_variance_g)
    excess = ((log_variance_g - trend @ coefficients) ** 2).sum() / (len(trend) - rank)
    excess -= polygamma(1, df_g / 2).mean()
    if excess <= 0:
        return np.inf
    return 2 * float(np.exp(brentq(lambda t: polygamma(1, np.exp(t)) - excess, -20, 30)))


def _trend_basis(expression_g) -> np.ndarray:
    """Natural cubic splines between four knots; a constant where there are few genes or no four different knots."""
    knots = np.quantile(expression_g, [0, 1 / 3, 2 / 3, 1]) if expression_g.size >= 30 else np.zeros(4)
    if not (np.diff(knots) > 0).all():
        return np.ones((expression_g.size, 1))
    return CubicSpline(knots, np.eye(4), bc_type="natural")(expression_g)
