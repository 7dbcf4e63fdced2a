"""Distance of latents from the training cells, as an entropy. Legend: m latents, n training cells, k dimensions."""

import numpy as np
from scipy.special import logsumexp

from ._factors import checked_mean, checked_var
from ._metric import ARITHMETIC, Metric

_BLOCK_VALUES = 4_000_000


def latent_entropy(latent: np.ndarray, *, mean: np.ndarray, var: np.ndarray) -> float:
    r"""How far latents are from the training cells: their cross-entropy under the aggregate posterior, in nats.

    .. math:: H(\tau(Z), g(X)) = -E_{Z \sim \tau} \log E_{X \sim g} q(Z | X)

    with Gaussian posteriors q(Z | X) that have independent dimensions (Yu and Welch 2021). Any real number: low where
    training cells are dense around the latents. It depends on the scale of the latent space; compare values under the
    same posteriors only.

    Parameters
    ----------
    latent
        Latents :math:`Z \sim \tau`, such as predicted ones, shape ``(n_latents, n_latent)``.
    mean, var
        Posterior means and (positive) variances of the training cells :math:`X \sim g`, shape ``(n_cells, n_latent)``.
    """
    mean_nk = checked_mean(mean)
    var_nk = checked_var(var, mean_nk, "give posterior variances")
    latent_mk = _checked_latent(latent, "latent", mean_nk)
    centre_k = mean_nk.mean(axis=0)  # the squares below would lose digits far from the origin
    latent_mk, mean_nk = latent_mk - centre_k, mean_nk - centre_k
    precision_nk = 1 / var_nk
    scaled_nk = mean_nk * precision_nk
    constant_n = -0.5 * (np.log(2 * np.pi * var_nk) + mean_nk * scaled_nk).sum(axis=1)
    block = max(1, _BLOCK_VALUES // len(mean_nk))
    log_density = []
    for start in range(0, len(latent_mk), block):
        z_mk = latent_mk[start : start + block]
        log_density.append(logsumexp(z_mk @ scaled_nk.T - 0.5 * z_mk**2 @ precision_nk.T + constant_n, axis=1))
    return float(np.log(len(mean_nk)) - np.concatenate(log_density).mean())


def delta_entropy(real: np.ndarray, predicted: np.ndarray, *, mean: np.ndarray, var: np.ndarray) -> float:
    r"""How much farther predicted latents are from the training cells than the real ones, in nats; 0 is best.

    .. math:: \Delta H = H(\tau_{predicted}(Z), g(X)) - H(\tau_{real}(Z), g(X))

    with the entropies of :func:`latent_entropy` (Yu and Welch 2021). Any real number. Positive: training cells are
    rarer around the predicted latents than around the real ones, and predictions from them tend to be worse.

    Parameters
    ----------
    real, predicted
        Encoded latents of the held-out cells themselves, and latents from latent space arithmetic: shapes ``(n_real,
        n_latent)`` and ``(n_predicted, n_latent)``, both as posterior means or both as samples.
    mean, var
        As in :func:`latent_entropy`, with the same errors.
    """
    mean_nk = checked_mean(mean)
    var_nk = checked_var(var, mean_nk, "give posterior variances")
    for name, latent in {"predicted": predicted, "real": real}.items():
        _checked_latent(latent, name, mean_nk)
    posterior = {"mean": mean_nk, "var": var_nk}
    return latent_entropy(predicted, **posterior) - latent_entropy(real, **posterior)


def _checked_latent(latent: np.ndarray, name: str, mean_nk: np.ndarray) -> np.ndarray:
    latent_mk = np.asarray(latent, dtype=np.float64)
    n_latent = mean_nk.shape[1]
    if latent_mk.ndim != 2 or len(latent_mk) == 0 or latent_mk.shape[1] != n_latent:
        raise ValueError(f"{name} has shape {latent_mk.shape}: give one or more rows of {n_latent} values, as mean has")
    n_bad = latent_mk.size - np.count_nonzero(np.isfinite(latent_mk))
    if n_bad:
        raise ValueError(f"{name} has {n_bad} values that are NaN or infinite: leave those rows out")
    return latent_mk


_of_column = lambda column: delta_entropy(column.real_mk, column.predicted_mk, mean=column.mean_nk, var=column.var_nk)
ROWS = (Metric("delta entropy", (ARITHMETIC,), delta_entropy, _of_column, -np.inf, np.inf, 0, "Yu and Welch 2021"),)
