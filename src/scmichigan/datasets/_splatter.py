"""The Splat model: counts of groups or paths of cells.

Legend: n cells, g genes, b batches, k groups or paths, s steps of a path.
"""

from dataclasses import asdict
from typing import Literal

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse
from scipy.interpolate import CubicSpline
from scipy.special import expit

from scmichigan._arrays import in_chunks

from ._splatter_parameters import SplatterParameters, path_order

_BRIDGE_KNOTS = 5
_LEAST_FACTOR = 1e-6
_BLOCK = 2**21  # entries sampled at a time: about 16 MB in each intermediate array


def splatter(
    parameters: SplatterParameters | None = None, kind: Literal["paths", "groups"] = "paths", *, seed: int = 0
) -> AnnData:
    r"""Simulate counts with the Splat model, in which every factor is known.

    Gene g has a mean :math:`m_g` from a gamma distribution; that of an outlier is the median gene's times a factor.
    Batches, groups and the ends of paths have factors :math:`e^{\pm |z|}`, z normal, on some of the genes. Along a path,
    a gene's factor goes from 1 (or from the end of the path before, as in Splatter since version 1.25.1) to its end in
    equal steps. If the gene is not linear, it follows a natural cubic spline through 5 points of a Brownian bridge, whose
    standard deviation is uniform between 0 and ``path_sigma_fac`` times the mean of both ends. For a cell of batch b at
    step s of path k with expected total :math:`L`,

    .. math::
        u_g &= m_g B_{bg} D_{kgs}, \qquad \mu_g = L u_g / \textstyle\sum_h u_h, \\
        c_g &= (\phi + \mu_g^{-1/2}) \sqrt{\nu / \chi^2_g}, \qquad
        \lambda_g \sim \mathrm{Gamma}(\text{mean } \mu_g, \text{coefficient of variation } c_g), \\
        x_g &\sim \mathrm{Poisson}(\lambda_g)

    with ``bcv_common`` :math:`\phi`, ``bcv_df`` :math:`\nu`, and one :math:`\chi^2_g` for each gene. With dropout, a
    count is set to 0 with probability :math:`1 / (1 + e^{-a (\log \lambda_g - d)})`, ``dropout_shape`` a and
    ``dropout_mid`` d. Random numbers are not those of R, so cells differ from those of the original software.

    Parameters
    ----------
    parameters
        Parameters of the model, such as those of :func:`estimate_splatter`; Splatter's defaults without it.
    kind
        Whether cells belong to groups, or lie on paths. One group without changes is ``"groups"`` with ``de_prob=0``.
    seed
        Random seed. Genes do not depend on the cells; expected totals, groups and steps do not depend on the genes.

    Returns
    -------
    Cells, batch after batch, in random order within a batch.

    - ``X``: raw counts, CSR, float32; ``layers["true_counts"]``: before dropout, if there is any
    - ``obs``: `batch`, `path` and `step` from 1, or `group`; `expected_total`, `total_counts`
    - ``var``: `base_mean` before outliers, `outlier_factor`, `mean` :math:`m_g`, `bcv_factor`
      :math:`\sqrt{\nu / \chi^2_g}`
    - ``varm``, in the order of the numbers in the names of batches, groups and paths: `batch_factors` of shape
      ``(n_genes, n_batches)``, `de_factors` ``(n_genes, n_groups)``, of groups or of the ends of paths; and of paths,
      `path_sigmas` ``(n_genes, n_groups)``, 0 of linear genes, and `path_factors` ``(n_genes, n_groups, n_steps)``, NaN
      after the last step of a path
    - ``uns["splatter"]``: the parameters, `kind` and `seed`

    Raises
    ------
    ValueError
        If ``kind`` is neither, ``parameters`` are no :class:`SplatterParameters`, or no total of a cell is above 0.

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
    layers = {} if true_counts is None else {"true_counts": true_counts}
    stored = {key: np.asarray(value) if np.ndim(value) else value for key, value in asdict(parameters).items()}
    stored |= {"kind": kind, "seed": seed}
    return AnnData(counts, obs=obs, var=var, varm=varm, layers=layers, uns={"splatter": stored})


def signed_factors(rng, shape, *, prob, down_prob, loc, scale) -> np.ndarray:
    r"""Factors :math:`e^{\pm |z|}`, :math:`z \sim N(loc, scale^2)`, of random entries, 1 of the others; the sign is random."""
    selected = rng.random(shape) < prob
    sign = np.where(rng.random(shape) < down_prob, -1, 1)
    return np.exp(sign * np.abs(rng.normal(loc, scale, shape)) * selected)


def bridges(rng, start, end, sigma, n_steps: int) -> np.ndarray:
    """Factors from ``start`` to ``end`` along splines of Brownian bridges (see :func:`splatter`); steps are the last axis."""
    start, end, sigma = (np.asarray(value, dtype=float)[..., None] for value in (start, end, sigma))
    sd = rng.uniform(0, 1, start.shape) * sigma * (start + end) / 2
    steps = rng.normal(0, 1, (*start.shape[:-1], _BRIDGE_KNOTS - 1)) * sd / np.sqrt(_BRIDGE_KNOTS - 1)
    walk = np.concatenate([np.zeros_like(start), np.cumsum(steps, axis=-1)], axis=-1)
    time = np.linspace(0, 1, _BRIDGE_KNOTS)
    factors = natural_spline(start + walk - time * (walk[..., -1:] - end + start), n_steps)
    return np.where(factors < 0, _LEAST_FACTOR, factors)


def natural_spline(knots: np.ndarray, n: int) -> np.ndarray:
    """Natural cubic spline through equally spaced knots (the last axis), at n equally spaced points with both ends."""
    time = np.linspace(0, 1, knots.shape[-1])
    return CubicSpline(time, knots, axis=-1, bc_type="natural")(np.linspace(0, 1, n))


def step_probabilities(skew: float, n_steps: int) -> np.ndarray:
    """Probability of each step of a path."""
    weights = np.linspace(skew, 1 - skew, n_steps)
    return weights / weights.sum()


def rates(rng, mean_ng, bcv_common, bcv_factor_g) -> np.ndarray:
    """Gamma variables with these means."""
    # The scale is the mean times the squared coefficient of variation, written for means that may be 0.
    scale_ng = np.sqrt(mean_ng)
    scale_ng *= bcv_common
    scale_ng += 1
    scale_ng *= bcv_factor_g
    scale_ng *= scale_ng
    rate_ng = rng.standard_gamma(mean_ng / scale_ng)
    rate_ng *= scale_ng
    return rate_ng


def dropout_probabilities(rate, mid, shape) -> np.ndarray:
    """Probability that a count of this rate is set to 0."""
    return expit(shape * (np.log(rate) - mid))


def splat_genes(rng, p, kind) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """True values of the genes: var and varm."""
    base_g = rng.gamma(p.mean_shape, 1 / p.mean_rate, p.n_genes)
    outlier_g = signed_factors(rng, p.n_genes, prob=p.out_prob, down_prob=0, loc=p.out_fac_loc, scale=p.out_fac_scale)
    var = pd.DataFrame(
        {"base_mean": base_g, "outlier_factor": outlier_g}, index=[f"gene_{g}" for g in range(p.n_genes)]
    )
    var["mean"] = np.where(outlier_g == 1, base_g, np.median(base_g) * outlier_g)
    var["bcv_factor"] = np.sqrt(p.bcv_df / rng.chisquare(p.bcv_df, p.n_genes)) if p.bcv_df < np.inf else 1.0
    loc, scale, shape = p.of_each("batch_fac_loc"), p.of_each("batch_fac_scale"), (p.n_genes, p.n_batches)
    has_effects = p.n_batches > 1 and not p.batch_rm_effect
    batch_gb = signed_factors(rng, shape, prob=has_effects, down_prob=0.5, loc=loc, scale=scale)
    prob, down_prob, loc, scale = (p.of_each(f"de_{name}") for name in ("prob", "down_prob", "fac_loc", "fac_scale"))
    de_gk = signed_factors(rng, (p.n_genes, p.n_groups), prob=prob, down_prob=down_prob, loc=loc, scale=scale)
    varm = {"batch_factors": batch_gb, "de_factors": de_gk}
    return var, varm | (_paths(rng, p, de_gk) if kind == "paths" else {})


def _paths(rng, p, de_gk) -> dict[str, np.ndarray]:
    """Factors of each step of the paths. ``de_gk`` gets those of the ends of paths, in place."""
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
    for key, code_n, n in (("batch", batch_n, p.n_batches), (kind[:-1], group_n, p.n_groups)):
        obs[key] = pd.Categorical.from_codes(code_n, [f"{key} {i + 1}" for i in range(n)])
    if kind == "paths":
        step_n = np.zeros(p.n_cells, dtype=int)
        for k, (skew, n_steps) in enumerate(zip(p.of_each("path_skew"), p.of_each("path_n_steps"), strict=True)):
            here = group_n == k
            step_n[here] = rng.choice(n_steps, here.sum(), p=step_probabilities(skew, n_steps))
        obs["step"] = step_n + 1
    obs["expected_total"] = total_n
    return obs


def _counts(rng, p, obs, var, varm) -> tuple[sparse.csr_matrix, sparse.csr_matrix | None]:
    """Counts, and those before dropout where there is any."""
    kept, true = [], []
    # Genes come last here, since cells are taken from these arrays.
    batch_bg = np.ascontiguousarray((varm["batch_factors"] * var["mean"].to_numpy()[:, None]).T)
    of_group = np.ascontiguousarray(np.moveaxis(varm.get("path_factors", varm["de_factors"]), 0, -1))
    group_n = obs["path" if "path" in obs else "group"].cat.codes.to_numpy()
    place_n = (group_n, obs["step"].to_numpy() - 1) if "step" in obs else (group_n,)
    batch_n, total_n = obs["batch"].cat.codes.to_numpy(), obs["expected_total"].to_numpy()
    # The cell, batch, group or experiment whose dropout a cell has.
    code_n = {"cell": np.arange(p.n_cells), "batch": batch_n, "group": group_n}.get(p.dropout_type, 0 * batch_n)
    mid_n, shape_n = (p.of_each(name)[code_n] for name in ("dropout_mid", "dropout_shape"))
    for block in in_chunks(p.n_cells, max(1, _BLOCK // p.n_genes)):
        mean_ng = of_group[tuple(code[block] for code in place_n)]
        mean_ng *= batch_bg[batch_n[block]]
        mean_ng *= (total_n[block] / mean_ng.sum(axis=1))[:, None]
        rate_ng = rates(rng, mean_ng, p.bcv_common, var["bcv_factor"].to_numpy())
        counts_ng = sparse.csr_matrix(rng.poisson(rate_ng).astype(np.float32))
        if p.dropout_type != "none":
            true.append(counts_ng.copy())
            row, column = counts_ng.nonzero()
            drop = dropout_probabilities(rate_ng[row, column], mid_n[block][row], shape_n[block][row])
            counts_ng.data[rng.random(drop.size) < drop] = 0
            counts_ng.eliminate_zeros()
        kept.append(counts_ng)
    return sparse.vstack(kept, format="csr"), sparse.vstack(true, format="csr") if true else None
