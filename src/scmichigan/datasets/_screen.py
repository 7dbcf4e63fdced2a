"""A simulated drug screen. Legend: n cells, g genes, t cell types, j treatments, b batches."""

from numbers import Real
from string import ascii_uppercase

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from scmichigan._checks import check_at_least

from ._splatter import signed_factors, splat_genes
from ._splatter_parameters import SplatterParameters

# Splatter's parameters, with two changes: few genes are without counts at 2,000 counts a cell, and the logarithms of
# factors are normal about 0, so that effects are additive and as often up as down.
_GENES = {"mean_shape": 1.0, "mean_rate": 1.0, "out_prob": 0.0}
_CELL_TYPE = {"de_prob": 0.2, "de_fac_loc": 0.0, "de_fac_scale": 1.0}
_BATCH = {"batch_fac_loc": 0.0, "batch_fac_scale": 0.2}
_LIBRARY_SD = 0.3
_DISPERSION = 0.2
_CHANGED = 0.15  # fraction of genes with an effect of a treatment, and with one of pseudotime
_PSEUDOTIME_SD = 0.7
_LEAST_RESPONSE = 0.5


def screen(
    n_cells: int = 3600,
    n_genes: int = 600,
    *,
    n_cell_types: int = 3,
    n_treatments: int = 6,
    n_batches: int = 1,
    effect_scale: float = 1.0,
    interaction: float = 0.1,
    mean_total: float = 2000,
    seed: int = 0,
) -> AnnData:
    r"""Simulate counts of a drug screen in which every factor is known.

    Genes, cell types (its groups) and batches are those of the Splat model, see :func:`splatter` for the source. The log
    rate of a gene is a sum: its own level; the effects of the cell's type, batch and pseudotime; and, times the cell's
    response, the effect of the treatment and an effect of cell type and treatment together. Rates are scaled to the cell's
    expected total. Counts are negative binomial with variance :math:`\mu + 0.2 \mu^2`.

    Parameters
    ----------
    n_cells, n_genes, n_cell_types, n_treatments, n_batches
        How many there are of each; at most 26 cell types. Cells are spread evenly over all combinations of cell type,
        treatment and batch, at least one each. The first treatment is the control.
    effect_scale
        Standard deviation of treatment effects, on the 15% of genes that have one; 0 for no effects.
    interaction
        Fraction of the variance of treatment effects that is specific to one cell type, from 0 (the effects on log rates
        are the same in all cell types) to 1 (other cell types tell nothing). It acts on another 15% of genes.
    mean_total
        Mean counts of a cell, 1 or more.
    seed
        Random seed. The effects do not depend on ``n_cells`` and ``mean_total``.

    Returns
    -------
    Cells in random order, each with at least one count.

    - ``X``: raw counts, CSR, float32
    - ``obs``: `cell_type`, `condition` ("control", "drug 1", ...), `batch` if there is more than one,
      `pseudotime` from 0 to 1, `response` from 0.5 to 1 (0 of control cells), `expected_total`, `total_counts`
    - ``var``: `log_base`, the level of each gene
    - ``varm``, all on log rates: `cell_type_effects` of shape ``(n_genes, n_cell_types)``, `treatment_effects`
      ``(n_genes, n_treatments)``, `interaction_effects` ``(n_genes, n_cell_types, n_treatments)``, `batch_effects`
      ``(n_genes, n_batches)``, in the order of letters and numbers in the names; and `pseudotime_effects`
      ``(n_genes, 2)``, factors of :math:`\cos \pi p` and :math:`\sin \pi p` at pseudotime p
    - ``uns["screen"]``: the arguments and the `dispersion`

    Raises
    ------
    ValueError
        If a number is out of its range.
    """
    arguments = dict(locals())
    _check(arguments)
    rng = np.random.default_rng(seed)
    levels = (n_cell_types, n_treatments, n_batches)
    truth = _effects(rng, n_genes, levels, effect_scale, interaction)
    codes = np.unravel_index(rng.permutation(np.arange(n_cells) % np.prod(levels)), levels)
    obs = _observations(rng, codes, levels, mean_total)
    counts_ng = _counts(rng, _rates(truth, codes, obs) * obs["expected_total"].to_numpy()[:, None])
    obs["total_counts"] = counts_ng.sum(axis=1).astype(np.float32)
    var = pd.DataFrame({"log_base": truth.pop("log_base")}, index=[f"gene_{i}" for i in range(n_genes)])
    varm = {key: np.moveaxis(effects, -1, 0) for key, effects in truth.items()}
    stored = arguments | {"dispersion": _DISPERSION}
    counts = sparse.csr_matrix(counts_ng, dtype=np.float32)
    return AnnData(counts, obs=obs, var=var, varm=varm, uns={"screen": stored})


def _check(given: dict[str, float]) -> None:
    check_at_least(1, **{name: value for name, value in given.items() if name.startswith("n_")})
    for name, minimum in (("effect_scale", 0), ("mean_total", 1)):
        if not isinstance(given[name], Real) or not minimum <= given[name] < np.inf:
            raise ValueError(f"{name} is {given[name]}: give a finite value of {minimum} or more")
    if given["n_cell_types"] > len(ascii_uppercase):
        raise ValueError(f"n_cell_types is {given['n_cell_types']}: types are named by letter, give 26 or fewer")
    if not isinstance(given["interaction"], Real) or not 0 <= given["interaction"] <= 1:
        raise ValueError(f"interaction is {given['interaction']}: it is a share, give a value from 0 to 1")
    n_combinations = given["n_cell_types"] * given["n_treatments"] * given["n_batches"]
    if given["n_cells"] < n_combinations:
        raise ValueError(
            f"n_cells is {given['n_cells']}, fewer than the {n_combinations} combinations of cell type, treatment "
            "and batch: ask for more cells or fewer levels"
        )


def _effects(rng, n_genes, levels, effect_scale, interaction) -> dict[str, np.ndarray]:
    n_types, n_treatments, n_batches = levels
    parameters = SplatterParameters(
        n_genes=n_genes, group_prob=[1] * n_types, batch_cells=[1] * n_batches, **_GENES, **_CELL_TYPE, **_BATCH
    )
    var, varm = splat_genes(rng, parameters, "groups")

    def of_treatments(fraction_of_variance, *shape):
        scale = effect_scale * np.sqrt(fraction_of_variance)
        effects = np.log(signed_factors(rng, shape, prob=_CHANGED, down_prob=0.5, loc=0, scale=scale))
        effects[..., 0, :] = 0
        return effects

    return {
        "log_base": np.log(var["mean"].to_numpy()),
        "cell_type_effects": np.log(varm["de_factors"].T),
        "treatment_effects": of_treatments(1 - interaction, n_treatments, n_genes),
        "interaction_effects": of_treatments(interaction, n_types, n_treatments, n_genes),
        "pseudotime_effects": (rng.random(n_genes) < _CHANGED) * rng.normal(0, _PSEUDOTIME_SD, (2, n_genes)),
        "batch_effects": np.log(varm["batch_factors"].T),
    }


def _observations(rng, codes, levels, mean_total) -> pd.DataFrame:
    n_cells, (n_types, n_treatments, n_batches) = codes[0].size, levels
    names = {
        "cell_type": [f"type {letter}" for letter in ascii_uppercase[:n_types]],
        "condition": ["control", *(f"drug {j}" for j in range(1, n_treatments))],
        "batch": [f"batch {b + 1}" for b in range(n_batches)],
    }
    factors = {k: pd.Categorical.from_codes(code_n, names[k]) for k, code_n in zip(names, codes, strict=True)}
    obs = pd.DataFrame(factors, index=[f"cell_{i}" for i in range(n_cells)])
    if n_batches == 1:
        del obs["batch"]
    obs["pseudotime"] = rng.uniform(0, 1, n_cells)
    obs["response"] = rng.uniform(_LEAST_RESPONSE, 1, n_cells) * (codes[1] > 0)
    obs["expected_total"] = mean_total * rng.lognormal(-(_LIBRARY_SD**2) / 2, _LIBRARY_SD, n_cells)
    return obs


def _rates(truth, codes, obs) -> np.ndarray:
    type_n, treatment_n, batch_n = codes
    angle_n = np.pi * obs["pseudotime"].to_numpy()
    treated_ng = truth["treatment_effects"][treatment_n] + truth["interaction_effects"][type_n, treatment_n]
    log_rate_ng = (
        truth["log_base"]
        + truth["cell_type_effects"][type_n]
        + truth["batch_effects"][batch_n]
        + np.column_stack([np.cos(angle_n), np.sin(angle_n)]) @ truth["pseudotime_effects"]
        + obs["response"].to_numpy()[:, None] * treated_ng
    )
    rate_ng = np.exp(log_rate_ng)
    return rate_ng / rate_ng.sum(axis=1, keepdims=True)


def _counts(rng, mean_ng) -> np.ndarray:
    counts_ng = np.zeros(mean_ng.shape, dtype=np.int64)
    empty_n = np.ones(len(mean_ng), dtype=bool)
    while empty_n.any():  # a cell without counts is sampled again
        counts_ng[empty_n] = rng.poisson(rng.gamma(1 / _DISPERSION, _DISPERSION * mean_ng[empty_n]))
        empty_n = counts_ng.sum(axis=1) == 0
    return counts_ng
