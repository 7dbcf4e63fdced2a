"""The Splat model: counts of groups or paths of cells.

Legend: n cells, g genes, b batches, k groups or paths, s steps of a path.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Literal

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse
from scipy.interpolate import CubicSpline
from scipy.special import expit

from ._splatter_parameters import SplatterParameters, path_order

_BRIDGE_KNOTS = 5
_LEAST_FACTOR = 1e-6
_BLOCK = 2**21  # entries drawn at a time: about 16 MB in each intermediate array


def splatter(
    parameters: SplatterParameters | None = None,
    kind: Literal["paths", "groups"] = "paths",
    *,
    seed: int = 0,
) -> AnnData:
    r"""Simulate counts with the Splat model, in which every factor is known.

    Gene g has a mean :math:`m_g`, drawn from a gamma distribution, or the median gene's times a factor if it is an
    outlier. Batches, groups and the ends of paths have factors :math:`e^{\pm |z|}`, z normal, on some of the genes.
    Along a path, a gene's factor goes from 1, or from the end of the path before, to that end in equal steps
    or, if it is not linear, along a natural cubic spline through 5 points of a Brownian bridge, whose standard
    deviation is uniform between 0 and ``path_sigma_fac`` times the mean of both ends. For a cell of batch b at step s
    of path k with expected total :math:`L`,

    .. math::
        u_g &= m_g B_{bg} D_{kgs}, \qquad \mu_g = L u_g / \textstyle\sum_h u_h, \\
        c_g &= (\phi + \mu_g^{-1/2}) \sqrt{\nu / \chi^2_g}, \qquad
        \lambda_g \sim \mathrm{Gamma}(\text{mean } \mu_g, \text{coefficient of variation } c_g), \\
        x_g &\sim \mathrm{Poisson}(\lambda_g)

    with ``bcv_common`` :math:`\phi`, ``bcv_df`` :math:`\nu`, and one :math:`\chi^2_g` for each gene. With dropout, a
    count is set to 0 with probability :math:`1 / (1 + e^{-a (\log \lambda_g - d)})`, ``dropout_shape`` a and
    ``dropout_mid`` d.

    Parameters
    ----------
    parameters
        Splatter's defaults by default; :func:`estimate_splatter` has those of your own cells.
    kind
        Whether cells belong to groups, or lie on paths. One group without changes is ``"groups"`` with ``de_prob=0``.
    seed
        Seed of everything; genes do not depend on the cells, nor expected totals, groups and steps on the genes.

    Returns
    -------
    Cells, the first batch first, in random order otherwise.

    - ``X``: raw counts, CSR, float32; ``layers["true_counts"]``: before dropout, if there is any
    - ``obs``: `batch`, `path` and `step` from 1, or `group`; `expected_total`, `total_counts`
    - ``var``: `base_mean` before outliers, `outlier_factor`, `mean` :math:`m_g`, `bcv_factor`
      :math:`\sqrt{\nu / \chi^2_g}`
    - ``varm``: `batch_factors` of shape ``(n_genes, n_batches)``, `de_factors` ``(n_genes, n_groups)``, of groups or of
      the ends of paths; and of paths, `path_sigmas` ``(n_genes, n_groups)``, 0 of linear genes, and `path_factors`
      ``(n_genes, n_groups, n_steps)``, NaN beyond the last step of a path; all by the numbers that batches, groups and
      paths have in their names
    - ``uns["splatter"]``: the parameters, `kind` and `seed`

    Raises
    ------
    ValueError
        If ``kind`` is neither, ``parameters`` are no :class:`SplatterParameters`, or no total of a cell is above 0.

    Notes
    -----
    A path that starts at the end of another one changes from there, as in Splatter since version 1.25.1: the factors of
    its end are times those of the other's. Random numbers are not those of R, so that no cell is the same as there.

    References
    ----------
    Zappia, Phipson and Oshlack 2017, "Splatter: simulation of single-cell RNA sequencing data".
    """
    if kind not in ("paths", "groups"):
        raise ValueError(f"kind is {kind!r}: give 'paths' or 'groups'")
    parameters = SplatterParameters() if parameters is None else parameters
    if not isinstance(parameters, SplatterParameters):
        raise ValueError(f"parameters is {parameters!r}: give SplatterParameters(n_genes=2000, ...)")
    gene_rng, cell_rng, count_rng = np.random.default_rng(seed).spawn(3)
    var, varm = splat_genes(gene_rng, parameters, kind)
    obs = _cells(cell_rng, parameters, kind)
    counts, true_counts = _counts(count_rng, parameters, obs, var, varm)
    obs["total_counts"] = counts.sum(axis=1).A1.astype(np.float32)
    arguments = {key: np.asarray(value) if np.ndim(value) else value for key, value in asdict(parameters).items()}
    return AnnData(
        counts,
        obs=obs,
        var=var,
        varm=varm,
        layers={} if true_counts is None else {"true_counts": true_counts},
        uns={"splatter": arguments | {"kind": kind, "seed": seed}},
    )


def signed_factors(rng, shape, *, prob, down_prob, loc, scale) -> np.ndarray:
    r"""Factors :math:`e^{\pm |z|}`, :math:`z \sim N(loc, scale^2)`, of the selected entries, and 1 of all others.

    The sign is negative with probability ``down_prob``, whatever that of z.
    """
    selected = rng.random(shape) < prob
    sign = np.where(rng.random(shape) < down_prob, -1, 1)
    return np.exp(sign * np.abs(rng.normal(loc, scale, shape)) * selected)


def bridges(rng, start, end, sigma, n_steps: int) -> np.ndarray:
    """Factors on the way from ``start`` to ``end``, arrays of one shape, which gets the steps as a last axis.

    The standard deviation of each bridge is uniform between 0 and ``sigma`` times the mean of both ends.
    """
    start, end, sigma = (np.asarray(value, dtype=float)[..., None] for value in (start, end, sigma))
    sd = rng.uniform(0, 1, start.shape) * sigma * (start + end) / 2
    steps = rng.normal(0, 1, (*start.shape[:-1], _BRIDGE_KNOTS - 1)) * sd / np.sqrt(_BRIDGE_KNOTS - 1)
    walk = np.concatenate([np.zeros_like(start), np.cumsum(steps, axis=-1)], axis=-1)
    time = np.linspace(0, 1, _BRIDGE_KNOTS)
    factors = natural_spline(start + walk - time * (walk[..., -1:] - end + start), n_steps)
    return np.where(factors < 0, _LEAST_FACTOR, factors)


def natural_spline(knots: np.ndarray, n: int) -> np.ndarray:
    """Natural cubic spline through equally spaced knots, the last axis, at n equally spaced points, ends included."""
    time = np.linspace(0, 1, knots.shape[-1])
    return CubicSpline(time, knots, axis=-1, bc_type="natural")(np.linspace(0, 1, n))


def step_probabilities(skew: float, n_steps: int) -> np.ndarray:
    """Probability of each step of a path."""
    weights = np.linspace(skew, 1 - skew, n_steps)
    return weights / weights.sum()


def rates(rng, mean_ng, bcv_common, bcv_factor_g) -> np.ndarray:
    """Gamma variables about the means.

    Their scale is the mean times the squared coefficient of variation, written so that means of 0 need no care.
    """
    scale_ng = np.sqrt(mean_ng)
    scale_ng *= bcv_common
    scale_ng += 1
    scale_ng *= bcv_factor_g
    scale_ng *= scale_ng
    rate_ng = rng.standard_gamma(mean_ng / scale_ng)
    rate_ng *= scale_ng
    return rate_ng


def dropout_probabilities(rate, mid, shape) -> np.ndarray:
    """Probability that a count drawn at the rate is set to 0."""
    return expit(shape * (np.log(rate) - mid))


def splat_genes(rng, p, kind) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Truths of the genes: var and varm."""
    base_g = rng.gamma(p.mean_shape, 1 / p.mean_rate, p.n_genes)
    outlier_g = signed_factors(rng, p.n_genes, prob=p.out_prob, down_prob=0, loc=p.out_fac_loc, scale=p.out_fac_scale)
    var = pd.DataFrame(
        {
            "base_mean": base_g,
            "outlier_factor": outlier_g,
            "mean": np.where(outlier_g == 1, base_g, np.median(base_g) * outlier_g),
            "bcv_factor": np.sqrt(p.bcv_df / rng.chisquare(p.bcv_df, p.n_genes)) if p.bcv_df < np.inf else 1.0,
        },
        index=[f"gene_{g}" for g in range(p.n_genes)],
    )
    batch_gb = signed_factors(
        rng,
        (p.n_genes, p.n_batches),
        prob=p.n_batches > 1 and not p.batch_rm_effect,
        down_prob=0.5,
        loc=p.of_each("batch_fac_loc"),
        scale=p.of_each("batch_fac_scale"),
    )
    de_gk = signed_factors(
        rng,
        (p.n_genes, p.n_groups),
        prob=p.of_each("de_prob"),
        down_prob=p.of_each("de_down_prob"),
        loc=p.of_each("de_fac_loc"),
        scale=p.of_each("de_fac_scale"),
    )
    varm = {"batch_factors": batch_gb, "de_factors": de_gk}
    return var, varm | (_paths(rng, p, de_gk) if kind == "paths" else {})


def _paths(rng, p, de_gk) -> dict[str, np.ndarray]:
    """Make the factors those of the ends of paths, in place, and walk from end to end."""
    n_steps = p.of_each("path_n_steps")
    sigma_gk = p.path_sigma_fac * (rng.random(de_gk.shape) < p.path_nonlinear_prob)
    factors_gks = np.full((*de_gk.shape, n_steps.max()), np.nan)
    start_gk = np.ones_like(de_gk)
    for k in np.array(path_order(p.of_each("path_from"))) - 1:
        if origin := p.of_each("path_from")[k]:
            start_gk[:, k] = de_gk[:, origin - 1]
            de_gk[:, k] *= start_gk[:, k]
    for k, n in enumerate(n_steps):
        factors_gks[:, k, :n] = bridges(rng, start_gk[:, k], de_gk[:, k], sigma_gk[:, k], n)
    return {"path_sigmas": sigma_gk, "path_factors": factors_gks}


def _cells(rng, p, kind) -> pd.DataFrame:
    obs = pd.DataFrame(index=[f"cell_{n}" for n in range(p.n_cells)])
    total_n = (rng.normal if p.lib_norm else rng.lognormal)(p.lib_loc, p.lib_scale, p.n_cells)
    if not (total_n > 0).any():
        raise ValueError(
            f"lib_loc is {p.lib_loc} and lib_norm True, and no cell has a total above 0: give a larger lib_loc"
        )
    if (total_n < 0).any():
        total_n[total_n < 0] = total_n[total_n > 0].min() / 2
    batch_n = np.repeat(np.arange(p.n_batches), p.batch_cells)
    group_n = rng.choice(p.n_groups, p.n_cells, p=np.ravel(p.group_prob) / np.sum(p.group_prob))
    obs["batch"] = _categories("batch", batch_n, p.n_batches)
    obs[kind[:-1]] = _categories(kind[:-1], group_n, p.n_groups)
    if kind == "paths":
        step_n = np.zeros(p.n_cells, dtype=int)
        for k, (skew, n_steps) in enumerate(zip(p.of_each("path_skew"), p.of_each("path_n_steps"), strict=True)):
            here = group_n == k
            step_n[here] = rng.choice(n_steps, here.sum(), p=step_probabilities(skew, n_steps))
        obs["step"] = step_n + 1
    obs["expected_total"] = total_n
    return obs


def _categories(name, code_n, n) -> pd.Categorical:
    return pd.Categorical.from_codes(code_n, [f"{name} {i + 1}" for i in range(n)])


def _counts(rng, p, obs, var, varm) -> tuple[sparse.csr_matrix, sparse.csr_matrix | None]:
    kept, true = [], []
    dropout = None if p.dropout_type == "none" else _dropout_of_cells(p, obs)
    factors = _factors(var, varm)
    size = max(1, _BLOCK // p.n_genes)
    for first in range(0, p.n_cells, size):
        block = slice(first, first + size)
        rate_ng = rates(rng, _means(obs[block], factors), p.bcv_common, var["bcv_factor"].to_numpy())
        counts_ng = sparse.csr_matrix(rng.poisson(rate_ng).astype(np.float32))
        if dropout is not None:
            true.append(counts_ng.copy())
            row, column = counts_ng.nonzero()
            mid_n, shape_n = dropout[:, block]
            drop = dropout_probabilities(rate_ng[row, column], mid_n[row], shape_n[row])
            counts_ng.data[rng.random(drop.size) < drop] = 0
            counts_ng.eliminate_zeros()
        kept.append(counts_ng)
    return sparse.vstack(kept, format="csr"), sparse.vstack(true, format="csr") if true else None


def _factors(var, varm) -> tuple[np.ndarray, np.ndarray]:
    """Means of the genes in each batch, and factors of each group or step; genes last, which cells are taken by."""
    batch_gb = varm["batch_factors"] * var["mean"].to_numpy()[:, None]
    of_group = varm.get("path_factors", varm["de_factors"])
    return np.ascontiguousarray(batch_gb.T), np.ascontiguousarray(np.moveaxis(of_group, 0, -1))


def _means(obs, factors) -> np.ndarray:
    """Expected counts of the cells, shape ``(n_cells, n_genes)``."""
    batch_bg, of_group = factors
    group_n = _group_codes(obs)
    mean_ng = of_group[group_n, obs["step"].to_numpy() - 1] if "step" in obs else of_group[group_n]
    mean_ng *= batch_bg[obs["batch"].cat.codes.to_numpy()]
    mean_ng *= (obs["expected_total"].to_numpy() / mean_ng.sum(axis=1))[:, None]
    return mean_ng


def _group_codes(obs) -> np.ndarray:
    return obs["path" if "path" in obs else "group"].cat.codes.to_numpy()


def _dropout_of_cells(p, obs) -> np.ndarray:
    """Mid and shape of each cell."""
    code_n = {
        "experiment": np.zeros(p.n_cells, dtype=int),
        "batch": obs["batch"].cat.codes.to_numpy(),
        "group": _group_codes(obs),
        "cell": np.arange(p.n_cells),
    }[p.dropout_type]
    return np.stack([p.of_each(name)[code_n] for name in ("dropout_mid", "dropout_shape")])
