"""What the generator and the critic are set to before the first step."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from scmichigan._arrays import dense, unit_of
from scmichigan.closed_form import fit_linear_gaussian, fit_poisson_log_normal

if TYPE_CHECKING:
    from ._gan import GAN

_N_CELLS_OF_COMPONENTS = 5000
_COMPONENT_DEVIATION = 4.0
_LEAST_DEVIATION = 1e-3
_LARGEST_UNIT = 10.0


def scale_expression(model: GAN) -> None:
    """Have the critic see all genes at comparable scales, where its settings say so."""
    if model.module.scale_inputs:
        deviation = np.sqrt(StandardScaler(with_mean=False).fit(model.cells.expression()).var_)
        model.module.set_expression_scale(torch.from_numpy(deviation).float())


def start(model: GAN, mean: np.ndarray, var: np.ndarray | None) -> None:
    """Scale what the networks see, and set the parts of the generator that a closed form gives."""
    module, cells, n_latent = model.module, model.cells, model.n_latent
    columns = cells.covariates(np.arange(len(mean)))
    condition = np.concatenate([mean, columns], axis=1)
    condition_var = None if var is None else np.concatenate([var, np.zeros_like(columns)], axis=1)
    centre, deviation = unit_of(condition, 0.0 if var is None else condition_var.mean(axis=0, dtype=np.float64))
    scale_expression(model)
    if module.scale_inputs or module.generator.decoder is not None:
        module.set_unit(*map(torch.from_numpy, (centre, deviation)))
    else:
        _warn_of_units(centre[:n_latent], deviation[:n_latent])
    if module.critic.n_components:
        module.set_components(_components(model, module.critic.n_components))
    condition = (condition - centre) / deviation
    condition_var = None if var is None else condition_var / deviation**2
    settings = {"condition_var": condition_var, "n_noise": module.n_noise}
    if not module.makes_counts or columns.size:
        linear = tuple(map(torch.from_numpy, fit_linear_gaussian(cells.expression(), condition, **settings)))
        module.covariate_weight.copy_(linear[0][:, n_latent:] / torch.from_numpy(deviation[n_latent:]))
    if module.generator.decoder is None:
        return
    if not module.makes_counts:
        module.start(*linear)
        return
    size = cells.by_feature(cells.totals()) / cells.target_sum
    n_centres = len(module.generator.basis.centres)
    kernel, *parts = fit_poisson_log_normal(cells.counts(), size, condition, n_centres=n_centres, **settings)
    module.start(*map(torch.from_numpy, parts), kernel=tuple(map(torch.as_tensor, kernel)))


def _components(model: GAN, n_components: int) -> torch.Tensor:
    """Weights of scaled genes in their principal components, shape ``(n_genes, n_components)``, fewer for few cells."""
    rows = np.sort(np.random.default_rng(0).permutation(model.cells.n_cells)[:_N_CELLS_OF_COMPONENTS])
    x = dense(model.cells.expression(rows)) * model.module.critic.input_scale.numpy(force=True)
    pca = PCA(min(n_components, *x.shape), random_state=0).fit(x)
    deviation = np.sqrt(pca.explained_variance_)
    is_there = deviation > _LEAST_DEVIATION * deviation[0]
    return torch.from_numpy(pca.components_[is_there].T * (_COMPONENT_DEVIATION / deviation[is_there]))


def _warn_of_units(centre: np.ndarray, deviation: np.ndarray) -> None:
    """Say that networks which take latents as they are were not made for these."""
    worst = np.maximum(np.abs(centre), deviation)
    if worst.max() > _LARGEST_UNIT or worst.max() < 1 / _LARGEST_UNIT:
        k = int(np.argmax(worst))
        warnings.warn(
            f"latent {k + 1} has the mean {centre[k]:.3g} and the standard deviation {deviation[k]:.3g}, and the published "
            "networks, which take it as it is, are made for about 0 and 1: standardise the latent first (the default preset of "
            "MichiGAN does so itself)",
            stacklevel=4,
        )
