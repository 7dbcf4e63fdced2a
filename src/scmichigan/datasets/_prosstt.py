"""Counts of cells along a tree of lineages.

Legend: n cells, g genes, b branches, t times of a branch, p times of all branches, k programmes.
"""

from collections.abc import Sequence
from numbers import Real
from operator import index

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from scmichigan._arrays import in_chunks
from scmichigan._checks import check_at_least

_BASE = (0.8, 1.0)  # mean and standard deviation of the logarithm
_MOST_COUNTS = 5000
_MOST_LOG_CHANGE = 8
_DISPERSION_SD = np.log(1.5)
_VELOCITY_SD = 0.2
_MOST_SAMPLES = 10_000
_BLOCK = 2**21


def prosstt(
    tree: int | Sequence[tuple[int, int]] = 1,
    n_genes: int = 2000,
    n_cells: int = 3000,
    *,
    n_times: int | Sequence[int] = 50,
    density: Sequence[Sequence[float]] | None = None,
    n_programmes: int | None = None,
    sibling_tolerance: float = 0.0,
    alpha: float = 0.2,
    beta: float = 1.0,
    scaling_sd: float = 0.7,
    seed: int = 0,
) -> AnnData:
    r"""Simulate counts along a tree of differentiating lineages with the PROSSTT model.

    In each branch, programmes of expression take a random walk with momentum: :math:`w_{t+1} = w_t + v_t`,
    :math:`v_{t+1} = \eta v_t + N(0, (2/T)^2)`, :math:`\eta` uniform between 0 and 1. It starts where the parent branch
    ended. Genes follow K programmes with coefficients H from :math:`\mathrm{Gamma}(\min(0.05, 1/K))`, most of which are
    about 0. The mean of a gene is :math:`\mu_{tg} = e^{s_g + \sum_k w_{tk} H_{kg}}` with :math:`s_g \sim N(0.8, 1)`. A branch
    is sampled again while one of its genes exceeds :math:`e^{s_g}` more than :math:`e^8` times, or while it is too similar
    to a sister branch; :math:`s_g` is sampled again while :math:`\mu` exceeds 5,000. The counts of a cell with scaling
    :math:`l` are negative binomial with mean :math:`m = l \mu` and variance :math:`\alpha_g m^2 + \beta_g m`.

    Parameters
    ----------
    tree
        Pairs of parent and child branch. Branches are numbered, the root is 0; no pairs for a single branch. Or a number:
        how many times a random leaf is split into two.
    n_genes, n_cells, n_times
        Numbers of genes, of cells, which are spread evenly over all times of all branches, and of times of each branch, 2
        or more, or one number for all.
    density
        For each branch, how likely each of its times is, up to a common factor. Cells are then sampled from it, and not
        spread evenly.
    n_programmes
        Number of programmes; by default five for each branch that splits, and 3 to 19 more.
    sibling_tolerance
        Sister branches are too similar if this fraction of genes, or less, change in opposite directions.
    alpha, beta, scaling_sd
        Medians of :math:`\alpha_g` and of :math:`\beta_g - 1`, which are log-normal; standard deviation of the logarithm of
        the cells' scaling, 0 for none.
    seed
        Random seed. The genes do not depend on the cells.

    Returns
    -------
    Cells in the order of branches and times.

    - ``X``: raw counts, CSR, float32
    - ``obs``: `branch`, `pseudotime` from 0, which continues from parent to child, `scaling`, `total_counts`
    - ``var``: `log_base` :math:`s_g`, `alpha`, `beta`
    - ``varm``: `coefficients` of shape ``(n_genes, n_programmes)``, `log_means` :math:`\log \mu`
      ``(n_genes, n_branches, n_times)``, NaN after the last time of a branch
    - ``uns["prosstt"]``: `tree` as pairs, `n_times` and `start_time` of each branch, `programmes` of shape
      ``(n_branches, n_times, n_programmes)``, `n_draws`, the number of sampled branches with the rejected ones, `density`
      of shape ``(n_branches, n_times)`` if it was given, and the other arguments

    Raises
    ------
    ValueError
        If a number is out of its range, the pairs are no tree, or no branch that meets the conditions is found.

    References
    ----------
    Papadopoulos, Gonzalo and Söding 2019, "PROSSTT: probabilistic simulation of single-cell RNA-seq data for complex
    differentiation processes".
    """
    check_at_least(1, n_genes=n_genes, n_cells=n_cells, n_programmes=1 if n_programmes is None else n_programmes)
    given = {"alpha": alpha, "beta": beta, "scaling_sd": scaling_sd, "sibling_tolerance": sibling_tolerance}
    for name, value in given.items():
        if not isinstance(value, Real) or not 0 <= value < np.inf:
            raise ValueError(f"{name} is {value!r}: give a finite number, 0 or more")
    if alpha == beta == 0:
        raise ValueError(
            "alpha and beta are both 0, which leaves no variance beyond that of counting: give one above 0"
        )
    gene_rng, cell_rng, count_rng = np.random.default_rng(seed).spawn(3)
    parents = random_tree(gene_rng, tree) if isinstance(tree, int | np.integer) else _parents(tree)
    times = _times(n_times, len(parents))
    weights = None if density is None else _density(density, times)
    coefficients_kg = _coefficients(gene_rng, parents, n_programmes, n_genes)
    walks, n_draws = _programmes(gene_rng, parents, times, coefficients_kg, sibling_tolerance)
    var, log_means = _genes(gene_rng, [w_tk @ coefficients_kg for w_tk in walks], alpha, beta)
    start = _start_times(parents, times)
    obs, position_n = _cells(cell_rng, start, times, n_cells, weights, scaling_sd)
    counts = _counts(count_rng, obs["scaling"].to_numpy(), var, np.exp(np.concatenate(log_means)), position_n)
    obs["total_counts"] = counts.sum(axis=1).A1.astype(np.float32)
    pairs = [(parent, child) for child, parent in enumerate(parents) if child]
    stored = given | {"tree": np.array(pairs, int).reshape(-1, 2), "n_times": times, "start_time": start, "seed": seed}
    stored |= {"programmes": _padded(walks), "n_draws": n_draws}
    if weights is not None:
        stored["density"] = _padded(weights)
    varm = {"coefficients": coefficients_kg.T, "log_means": np.moveaxis(_padded(log_means), -1, 0)}
    return AnnData(counts, obs=obs, var=var, varm=varm, uns={"prosstt": stored})


def random_tree(rng, n_splits: int) -> list[int]:
    """Parent of each branch, -1 of the root, after a random leaf has been split in two ``n_splits`` times."""
    check_at_least(0, tree=n_splits)
    parents = [-1]
    for _ in range(n_splits):
        leaves = sorted(set(range(len(parents))) - set(parents))
        parents += [int(rng.choice(leaves))] * 2
    return parents


def walk(rng, n_times: int, n_walks: int) -> np.ndarray:
    """Random walks with momentum, shape ``(n_times, n_walks)``."""
    momentum = rng.uniform(0, 1, n_walks)
    steps, velocity = [np.log(rng.uniform(0, 1.5, n_walks))], rng.normal(0, _VELOCITY_SD, n_walks)
    for noise in rng.normal(0, 2 / n_times, (n_times - 1, n_walks)):
        steps.append(steps[-1] + velocity)
        velocity = momentum * velocity + noise
    return np.array(steps)


def negative_binomial(rng, mean, alpha, beta) -> np.ndarray:
    r"""Counts with mean m and variance :math:`\alpha m^2 + \beta m`, :math:`\beta > 1`: Poisson with gamma rates."""
    scale = alpha * mean + beta - 1  # the variance is mean + mean * scale
    return rng.poisson(rng.standard_gamma(mean / scale) * scale)


def _parents(tree) -> list[int]:
    try:
        pairs = [(index(parent), index(child)) for parent, child in tree]
    except (TypeError, ValueError):
        raise ValueError(
            f"tree is {tree!r}: give pairs of a branch and one that follows it, [(0, 1), (0, 2)], or a number of splits"
        ) from None
    parent_of = {child: parent for parent, child in pairs}
    names = set(range(len(pairs) + 1))
    if len(parent_of) < len(pairs) or set(parent_of) != names - {0} or not set(parent_of.values()) <= names:
        raise ValueError(
            f"tree is {pairs}: number its {len(pairs) + 1} branches from 0, the root, to {len(pairs)}, and give each "
            "but the root one parent"
        )
    parents = [-1, *(parent_of[child] for child in range(1, len(names)))]
    if len(_breadth_first(parents)) < len(parents):
        raise ValueError(f"tree is {pairs}: some branches go in a circle, let all descend from branch 0")
    return parents


def _breadth_first(parents) -> list[int]:
    order = [0]
    for branch in order:  # which grows
        order += [child for child, parent in enumerate(parents) if parent == branch]
    return order


def _times(n_times, n_branches) -> np.ndarray:
    times = np.ravel(n_times)
    if times.dtype.kind not in "iu" or times.size not in (1, n_branches) or times.min() < 2:
        raise ValueError(
            f"n_times is {n_times}: give whole numbers of 2 or more, one or one for each of the {n_branches} branches"
        )
    return np.broadcast_to(times, n_branches).astype(int)


def _start_times(parents, times) -> np.ndarray:
    start = np.zeros(len(parents), dtype=int)
    for branch in _breadth_first(parents)[1:]:
        start[branch] = start[parents[branch]] + times[parents[branch]]
    return start


def _coefficients(rng, parents, n_programmes, n_genes) -> np.ndarray:
    if n_programmes is None:
        n_splits = sum(parents.count(branch) > 1 for branch in range(len(parents)))
        n_programmes = 5 * n_splits + rng.integers(3, 20)
    return rng.gamma(min(0.05, 1 / n_programmes), 1, (n_programmes, n_genes))


def _programmes(rng, parents, times, coefficients_kg, tolerance) -> tuple[list[np.ndarray], int]:
    """Walks of each branch, and how many branches were sampled for them."""
    walks, changes, n_draws = {}, {}, 0
    for branch in _breadth_first(parents):
        parent = parents[branch]
        sisters = [changes[other] for other in walks if branch and parents[other] == parent]
        for _ in range(_MOST_SAMPLES):
            n_draws += 1
            w_tk = walk(rng, times[branch], len(coefficients_kg))
            if branch:
                w_tk += walks[parent][-1] - w_tk[0]
            change_tg = w_tk @ coefficients_kg
            differs = (_fraction_opposite(change_tg, sister_tg) > tolerance for sister_tg in sisters)
            if change_tg.max() <= _MOST_LOG_CHANGE and all(differs):
                break
        else:
            raise ValueError(
                f"branch {branch} was drawn {_MOST_SAMPLES} times, each time with a gene above {_MOST_LOG_CHANGE} on the "
                f"log scale or with a share of genes within sibling_tolerance={tolerance} of the branches beside it: "
                "give fewer or shorter branches, or a lower tolerance"
            )
        walks[branch], changes[branch] = w_tk, change_tg
    return [walks[branch] for branch in range(len(parents))], n_draws


def _fraction_opposite(a_tg, b_tg) -> float:
    """Fraction of genes with a negative correlation over the times that both branches have."""
    n = min(len(a_tg), len(b_tg))
    return np.mean(np.einsum("tg,tg->g", a_tg[:n] - a_tg[:n].mean(axis=0), b_tg[:n] - b_tg[:n].mean(axis=0)) < 0)


def _genes(rng, changes, alpha, beta) -> tuple[pd.DataFrame, list[np.ndarray]]:
    n_genes = changes[0].shape[1]
    largest_g = np.max([change_tg.max(axis=0) for change_tg in changes], axis=0)
    log_base_g, again_g = np.zeros(n_genes), np.ones(n_genes, dtype=bool)
    while again_g.any():
        log_base_g[again_g] = rng.normal(*_BASE, again_g.sum())
        again_g = log_base_g + largest_g > np.log(_MOST_COUNTS)
    var = pd.DataFrame({"log_base": log_base_g}, index=[f"gene_{g}" for g in range(n_genes)])
    var["alpha"] = alpha * rng.lognormal(0, _DISPERSION_SD, n_genes)
    var["beta"] = 1 + beta * rng.lognormal(0, _DISPERSION_SD, n_genes)
    return var, [log_base_g + change_tg for change_tg in changes]


def _cells(rng, start, times, n_cells, weights, scaling_sd) -> tuple[pd.DataFrame, np.ndarray]:
    """Obs of the cells, and their positions p among all times of all branches."""
    branch_p = np.repeat(np.arange(times.size), times)
    time_p = np.concatenate([first + np.arange(n) for first, n in zip(start, times, strict=True)])
    if weights is None:
        position_n = np.arange(n_cells) * time_p.size // n_cells
    else:
        weight_p = np.concatenate(weights)
        position_n = np.sort(rng.choice(time_p.size, n_cells, p=weight_p / weight_p.sum()))
    obs = pd.DataFrame(index=[f"cell_{n}" for n in range(n_cells)])
    obs["branch"] = pd.Categorical.from_codes(branch_p[position_n], [f"branch {b}" for b in range(times.size)])
    obs["pseudotime"] = time_p[position_n]
    obs["scaling"] = rng.lognormal(0, scaling_sd, n_cells)
    return obs, position_n


def _density(density, times) -> list[np.ndarray]:
    lengths = [np.size(of_branch) for of_branch in density] if np.iterable(density) else np.size(density)
    if lengths != list(times):
        raise ValueError(
            f"density has {lengths} values for its branches, which have {list(map(int, times))} times: give one value "
            "for each time of each branch"
        )
    weights = [np.ravel(of_branch).astype(float) for of_branch in density]
    if not all((of_branch >= 0).all() for of_branch in weights) or not 0 < sum(map(np.sum, weights)) < np.inf:
        raise ValueError("density has negative or infinite values, or is 0 everywhere: give how likely each time is")
    return weights


def _counts(rng, scaling_n, var, mean_pg, position_n) -> sparse.csr_matrix:
    alpha_g, beta_g, blocks = var["alpha"].to_numpy(), var["beta"].to_numpy(), []
    for block in in_chunks(len(position_n), max(1, _BLOCK // len(var))):
        mean_ng = scaling_n[block, None] * mean_pg[position_n[block]]
        blocks.append(sparse.csr_matrix(negative_binomial(rng, mean_ng, alpha_g, beta_g).astype(np.float32)))
    return sparse.vstack(blocks, format="csr")


def _padded(arrays) -> np.ndarray:
    """Stack the branches, with NaN after the last time of the shorter ones."""
    padded = np.full((len(arrays), max(map(len, arrays)), *arrays[0].shape[1:]), np.nan)
    for row, array in zip(padded, arrays, strict=True):
        row[: len(array)] = array
    return padded
