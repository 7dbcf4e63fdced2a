"""Predictions by the GANs: what CombinationPredictor does, with the latents and the generator of a model."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from mudata import MuData
from scvi.model.base import BaseModelClass

from scmichigan import _keys, combinations
from scmichigan._checks import check_trained
from scmichigan.combinations import Latents, Method, Predictor
from scmichigan.data import RegisteredCells
from scmichigan.latents import posterior_to_sample


def predictor(self) -> Predictor:
    """What predicts combinations of labels from the registered cells, their latents and the generator."""
    return Predictor(
        RegisteredCells.of(self),
        name=type(self).__name__,
        covariate_effects=partial(_covariate_effects, self),
        makes_counts=self.module.makes_counts,
        latents=Latents(self.latent.name, *posterior_to_sample(self.latent, self.latent_sampling)),
        render=lambda z, rows, rng: self._render(z, rows, self._sample_noise(len(z), rng)),
    )


def _covariate_effects(model: BaseModelClass, rows: np.ndarray, mean: bool) -> np.ndarray:
    """What batch and covariates add to the expression of cells, or to its mean, shape ``(n_features,)``."""
    columns = torch.from_numpy(RegisteredCells.of(model).covariates(rows))
    columns = columns.mean(dim=0, keepdim=True) if mean else columns
    effects = (columns @ model.module.covariate_weight.cpu().T).numpy()
    return effects[0] if mean else effects


def predict_combination(
    self,
    labels: dict[str, object],
    *,
    method: str | Method = "kriging",
    along: str | None = None,
    references: Sequence[str] | None = None,
    n_samples: int | None = None,
    seed: int = 0,
    key_added: str = _keys.PREDICTED_LATENT,
) -> AnnData | MuData:
    """Predict the cells of a combination of labels that was never seen.

    Arguments, result, errors and warnings are those of :meth:`CombinationPredictor.predict`. A trained model adds the methods
    that need a generator (``"paper"``, the published latent arithmetic, and ``"kriging_generator"``) and latents: those of
    the predicted cells are in ``obsm["X_michigan"]``, and the predicted latent (posterior mean plus shift) of each cell of the
    references is written to ``obsm[key_added]`` of the model's adata (NaN for all others), with the same provenance in
    ``uns[key_added]``.

    Raises
    ------
    RuntimeError, ValueError
        If the model is untrained; if the model knows no latents of cells.
    """
    check_trained(self)
    return self.predictor().predict(
        labels,
        method=method,
        along=along,
        references=references,
        n_samples=n_samples,
        seed=seed,
        key_added=key_added,
    )


def missing_combinations(self, keys: Sequence[str], *, enable_progress_bar: bool = True) -> pd.DataFrame:
    """List the combinations of labels that no cell has, with the expected error of their predictions.

    Arguments, result and errors are those of :meth:`CombinationPredictor.missing`, of any two or more obs keys.

    Examples
    --------
    >>> table = model.missing_combinations(["cell_type", "condition"])
    >>> cells = model.predict_all(table[table["expected_error"] < table["predicted_change"]])
    """
    check_trained(self)
    return self.predictor().missing(keys, enable_progress_bar=enable_progress_bar)


def predict_all(
    self,
    combinations: Sequence[str] | Sequence[Mapping[str, object]] | pd.DataFrame,
    *,
    n_samples: int = 500,
    seed: int = 0,
    enable_progress_bar: bool = True,
) -> AnnData | MuData:
    """Predict the cells of all combinations of labels that no cell has, or of some.

    Arguments, result and errors are those of :meth:`CombinationPredictor.predict_all`; ``combinations`` may also be two or
    more obs keys, for all missing combinations of their labels that can be predicted.
    """
    check_trained(self)
    return self.predictor().predict_all(
        combinations, n_samples=n_samples, seed=seed, enable_progress_bar=enable_progress_bar
    )


def _decoded(model: BaseModelClass, labels: dict[str, Any], *, noise: bool) -> AnnData:
    latent = model.predict_combination(labels, method="paper").obsm["X_michigan"]
    return model.latent_model.generate(latent=latent, noise=noise)


PREDICTORS = {
    "MichiGAN": lambda model, labels: model.predict_combination(labels),
    "MichiGAN, as published": lambda model, labels: model.predict_combination(labels, method="paper"),
    "decoder, mean": lambda model, labels: _decoded(model, labels, noise=False),
    "decoder, with noise": lambda model, labels: _decoded(model, labels, noise=True),
}
"""Predictions by the generator and by the decoder of its beta-TCVAE, the latter as other methods do it."""


def benchmark_predictions(
    cls: type[BaseModelClass],
    adata: AnnData,
    keys: Sequence[str],
    control_labels: Mapping[str, Any],
    *,
    predictors: Mapping[str, Any] | None = None,
    setup_kwargs: Mapping[str, Any] | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
    train_kwargs: Mapping[str, Any] | None = None,
    **benchmark_kwargs: Any,
) -> pd.DataFrame:
    """Hide combinations of labels one at a time, train a model without each, and judge what it predicts of it.

    Arguments, result and errors that are not listed here are those of :func:`benchmark_predictions`.

    Parameters
    ----------
    predictors
        Functions that take a trained model and labels and return cells. By default the model's prediction, which is judged
        against the others: the published one, and the decoder of the beta-TCVAE without and with noise.
    model_kwargs, train_kwargs
        Arguments of the model and of its training. A stored latent is refused, as it has seen the hidden cells.

    Examples
    --------
    >>> table = mg.MichiGAN.benchmark_predictions(adata, ["cell_type", "condition"], {"condition": "ctrl"})
    """
    setup_kwargs = dict(setup_kwargs or {})
    if setup_kwargs.get("latent_key") is not None:
        raise ValueError("setup_kwargs has a latent_key: a stored latent has seen the hidden cells; leave it out")
    fit = partial(
        _fit,
        model=cls,
        setup_kwargs=setup_kwargs,
        model_kwargs=dict(model_kwargs or {}),
        train_kwargs=dict(train_kwargs or {}),
    )
    return combinations.benchmark_predictions(
        adata,
        keys,
        control_labels,
        fit=fit,
        predictors=PREDICTORS if predictors is None else predictors,
        setup_kwargs=setup_kwargs,
        **benchmark_kwargs,
    )


def _fit(
    train: AnnData,
    keys: Sequence[str],
    *,
    model: type[BaseModelClass],
    setup_kwargs: dict[str, Any],
    model_kwargs: dict[str, Any],
    train_kwargs: dict[str, Any],
) -> BaseModelClass:
    model.setup_anndata(train, **setup_kwargs)
    fitted = model(train, **model_kwargs)
    fitted.train(**{"enable_progress_bar": False, **train_kwargs})
    return fitted
