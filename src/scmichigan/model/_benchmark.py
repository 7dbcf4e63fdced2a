"""Predictions of combinations that were hidden from every fit, beside simple ones."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import scipy.sparse as sp
import scvi
from anndata import AnnData
from joblib import Parallel, delayed, parallel_config
from rich.progress import track
from sklearn.preprocessing import StandardScaler

from scmichigan import metrics
from scmichigan._cells import Cells
from scmichigan._checks import check_obs_keys

from ._arithmetic import NEEDED, find_references, observed_combinations
from ._common import check_labels, check_level, check_levels
from ._michigan import MichiGAN

Predictor = Callable[[MichiGAN, dict[str, Any]], AnnData]

_MICHIGAN = "MichiGAN"
_PAPER = {"weights": "equal", "residual": "fresh"}
_LEAST_CELLS = 10


def _decoded(model: MichiGAN, target: dict[str, Any], *, noise: bool) -> AnnData:
    latent = model.predict_combination(target, **_PAPER).obsm["X_michigan"]
    return model.latent_model.generate(latent=latent, noise=noise)


PREDICTORS: dict[str, Predictor] = {
    _MICHIGAN: lambda model, target: model.predict_combination(target),
    "MichiGAN, as published": lambda model, target: model.predict_combination(target, **_PAPER),
    "decoder, mean": lambda model, target: _decoded(model, target, noise=False),
    "decoder, with noise": lambda model, target: _decoded(model, target, noise=True),
}
"""Latent arithmetic by the generator and by the decoder of the beta-TCVAE, the latter as other methods do it."""


def benchmark_predictions(
    adata: AnnData,
    factors: Sequence[str],
    control: Mapping[str, Any],
    *,
    hold_out: Sequence[Mapping[str, Any]] | None = None,
    predictors: Mapping[str, Predictor] | None = None,
    n_genes: int = 2000,
    setup_kwargs: Mapping[str, Any] | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
    train_kwargs: Mapping[str, Any] | None = None,
    judge_kwargs: Mapping[str, Any] | None = None,
    folder: Path | str | None = None,
    n_jobs: int = 1,
    seed: int = 0,
) -> pd.DataFrame:
    """Hide combinations of labels one at a time, and judge what is predicted of each.

    For each, genes are selected and everything is fitted again without its cells.

    Parameters
    ----------
    adata
        Cells x genes, as :meth:`MichiGAN.setup_anndata` takes them.
    factors
        Two or more columns of obs whose labels make a combination.
    control
        The untreated label of one of them, such as ``{"condition": "ctrl"}``.
    hold_out
        Combinations to hide, such as ``{"cell_type": "B cells", "condition": "stim"}``; by default all treated ones with
        10 cells or more that the others can predict, and whose control was seen.
    predictors
        Functions that take a trained model and the target and return cells; the first is the one that is judged against
        the others. By default MichiGAN, MichiGAN as published, and the decoder of its beta-TCVAE without and with noise.
    n_genes
        Genes that vary most among the training cells.
    setup_kwargs, model_kwargs, train_kwargs
        Arguments of :meth:`MichiGAN.setup_anndata`, :class:`MichiGAN` and :meth:`MichiGAN.train`.
    judge_kwargs
        Arguments of :func:`~scmichigan.metrics.prediction`, such as ``n_cells``.
    folder
        Where the table of each combination is kept. What is there already is not run again; predictors are known by their
        names alone, so take another folder when one of them is changed.
    n_jobs
        Combinations at a time, each in a process of its own with one thread and a copy of the cells; -1 for as many as
        there are cores.
    seed
        Of all draws.

    Returns
    -------
    One row for each combination, predictor and metric: the factors, "predictor", "metric" and "value". Predictors are
    those given, and "no change", "additive", "additive, weighted" and "real cells" (one half of the hidden cells against
    the other, the best there can be).

    Raises
    ------
    KeyError, ValueError
        If a column or label does not exist, there is nothing to hide, a stored latent is asked for, or the folder holds
        results of other arguments.

    Examples
    --------
    >>> table = mg.benchmark_predictions(
    ...     adata, ["cell_type", "condition"], {"condition": "ctrl"}, setup_kwargs={"size_factor_key": "total_counts"}
    ... )
    >>> table.pivot_table(index="metric", columns="predictor", values="value")
    """
    predictors = dict(PREDICTORS if predictors is None else predictors)
    setup_kwargs, model_kwargs, train_kwargs, judge_kwargs = (
        dict(kwargs or {}) for kwargs in (setup_kwargs, model_kwargs, train_kwargs, judge_kwargs)
    )
    if setup_kwargs.get("latent_key") is not None:
        raise ValueError("setup_kwargs has a latent_key: a stored latent has seen the hidden cells; leave it out")
    check_labels(control, "control")
    targets = _targets(adata, list(factors), dict(control), hold_out)
    kept = None
    if folder is not None:
        settings = {
            "genes": n_genes,
            "cells": f"{adata.n_obs}, {_fingerprint(adata, factors, setup_kwargs)}",
            "predictors": list(predictors),
            "arguments": repr((dict(control), setup_kwargs, model_kwargs, train_kwargs, judge_kwargs, seed)),
        }
        kept = _open(Path(folder), settings)
    paths = [None if kept is None else kept / f"{_file_name(target)}.csv" for target in targets]
    run = partial(
        _run,
        adata,
        control=dict(control),
        predictors=predictors,
        n_genes=n_genes,
        setup_kwargs=setup_kwargs,
        model_kwargs=model_kwargs,
        train_kwargs=train_kwargs,
        judge_kwargs={"seed": seed, "enable_progress_bar": False, **judge_kwargs},
        seed=seed,
    )
    tables = {
        i: pd.read_csv(path, dtype=dict.fromkeys(target, str))
        for i, (target, path) in enumerate(zip(targets, paths, strict=True))
        if path is not None and path.exists()
    }
    todo = [i for i in range(len(targets)) if i not in tables]
    with parallel_config("loky", inner_max_num_threads=1):
        found = Parallel(n_jobs, return_as="generator_unordered")(delayed(run)(targets[i], paths[i], i) for i in todo)
        tables |= dict(track(found, "combinations", total=len(targets), completed=len(tables)))
    return pd.concat([tables[i] for i in range(len(targets))], ignore_index=True)


def _run(
    adata: AnnData,
    target: dict[str, Any],
    path: Path | None,
    number: int,
    *,
    control: dict[str, Any],
    predictors: Mapping[str, Predictor],
    n_genes: int,
    setup_kwargs: dict[str, Any],
    model_kwargs: dict[str, Any],
    train_kwargs: dict[str, Any],
    judge_kwargs: dict[str, Any],
    seed: int,
) -> tuple[int, pd.DataFrame]:
    """Fit without one combination, judge, and keep the table; with the number of the combination."""
    hidden = np.logical_and.reduce([(adata.obs[factor] == label).to_numpy() for factor, label in target.items()])
    train, real = hide(adata, hidden, n_genes, **setup_kwargs)
    scvi.settings.seed = seed
    MichiGAN.setup_anndata(train, **setup_kwargs)
    model = MichiGAN(train, **model_kwargs)
    model.train(**{"enable_progress_bar": False, **train_kwargs})
    table = _judge(model, real, target, control, predictors, judge_kwargs)
    if path is not None:
        # In one step, for a killed run to leave no half of a table behind.
        table.to_csv(path.with_suffix(".part"), index=False)
        path.with_suffix(".part").replace(path)
    return number, table


def hide(adata: AnnData, hidden: np.ndarray, n_genes: int, **setup_kwargs: Any) -> tuple[AnnData, AnnData]:
    """Training and hidden cells on the genes whose log-normalised expression varies most among the training cells."""
    everything = adata[~hidden].copy()
    MichiGAN.setup_anndata(everything, **setup_kwargs)
    x = MichiGAN(everything, n_latent=1).get_normalized_expression()
    variance = StandardScaler(with_mean=False).fit(x).var_
    genes = np.sort(np.argsort(-variance, kind="stable")[:n_genes])
    return adata[~hidden, genes].copy(), adata[hidden, genes].copy()


def _targets(
    adata: AnnData, factors: list[str], control: dict[str, Any], hold_out: Sequence[Mapping[str, Any]] | None
) -> list[dict[str, Any]]:
    """The combinations to hide, each of which can be predicted from the others."""
    check_obs_keys(adata, factors)
    if len(factors) < 2 or len(control) != 1 or not set(control) <= set(factors):
        raise ValueError(f"factors are {factors}, control is {control}; give two or more columns, and a label of one")
    ((key, untreated),) = control.items()
    check_level(adata, key, untreated)
    check_levels(adata, factors)
    groups = observed_combinations(adata.obs, factors)

    def problem(labels: tuple) -> str | None:
        if len(groups.get(labels, ())) < _LEAST_CELLS:
            return f"it has {len(groups.get(labels, ()))} cells; {_LEAST_CELLS} are the least"
        others = {other: rows for other, rows in groups.items() if other != labels}
        own_control = tuple(untreated if f == key else label for f, label in zip(factors, labels, strict=True))
        if labels == own_control or own_control not in others:
            return f"it is no treated one whose control {own_control} was seen"
        if len(others[own_control]) < _LEAST_CELLS:
            return f"its control has {len(others[own_control])} cells; {_LEAST_CELLS} are the least"
        if not any(find_references(others, factors, labels, f) for f in factors):
            return f"the others cannot predict it: {NEEDED}"
        return None

    if hold_out is None:
        chosen = [labels for labels in groups if problem(labels) is None]
        if not chosen:
            raise ValueError(f"no combination of {factors} can be hidden: {problem(next(iter(groups)))}")
        return [dict(zip(factors, labels, strict=True)) for labels in chosen]
    if isinstance(hold_out, Mapping):
        raise ValueError(f"hold_out is {dict(hold_out)}; give a list of such combinations, [{dict(hold_out)}]")
    for target in hold_out:
        check_labels(target, "hold_out")
        if set(target) != set(factors):
            raise ValueError(f"hold_out has {target}; give one label for each of {factors}")
        for factor, label in target.items():
            check_level(adata, factor, label)
        found = problem(tuple(target[f] for f in factors))
        if found is not None:
            raise ValueError(f"{target} cannot be hidden: {found}; leave it out of hold_out")
    return [{f: target[f] for f in factors} for target in hold_out]


def _fingerprint(adata: AnnData, factors: Sequence[str], setup_kwargs: Mapping[str, Any]) -> str:
    """Differs where the cells do: their counts, labels and totals."""
    layer = setup_kwargs.get("layer")
    x = adata.layers[layer] if layer in adata.layers else adata.X
    columns = [*factors, *(key for name, key in setup_kwargs.items() if name.endswith("_key") and key in adata.obs)]
    labels = [adata.obs[column].astype(str).to_list() for column in columns]
    values = [x.data, x.indices, x.indptr] if sp.issparse(x) else [np.asarray(x)]
    return joblib.hash([values, adata.var_names.to_list(), labels])


def _open(folder: Path, settings: dict[str, Any]) -> Path:
    """The folder, with the settings written to it; refused where those of another run are there."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "settings.json"
    if path.exists() and (found := json.loads(path.read_text())) != settings:
        other = {k: (found.get(k), v) for k, v in settings.items() if found.get(k) != v}
        differing = "; ".join(f"{name} {there!r} and not {here!r}" for name, (there, here) in other.items())
        raise ValueError(
            f"{folder} holds results of other cells or arguments: {differing}; give another folder, or empty it"
        )
    path.write_text(json.dumps(settings))
    return folder


def _file_name(target: dict[str, Any]) -> str:
    """Readable, and different for labels that differ only in what file names cannot hold."""
    labels = [str(label) for label in target.values()]
    readable = "".join(c if c.isalnum() else "_" for c in " ".join(labels))
    return f"{readable[:80]}_{zlib.crc32(repr(labels).encode()):08x}"


def _judge(
    model: MichiGAN,
    real: AnnData,
    target: dict[str, Any],
    control: dict[str, Any],
    predictors: Mapping[str, Predictor],
    judge_kwargs: dict[str, Any],
) -> pd.DataFrame:
    x = model.get_normalized_expression()
    groups = observed_combinations(model.adata.obs, list(target))
    ((key, untreated),) = control.items()

    def cells(labels: dict[str, Any]) -> Cells | None:
        rows = groups.get(tuple(labels.values()))
        return None if rows is None else x[rows]

    contexts = []
    for labels in groups:
        context = dict(zip(target, labels, strict=True))
        pair = cells(context | {key: untreated}), cells(context)
        if context[key] == target[key] and pair[0] is not None:
            contexts.append(pair)
    predicted = {name: predictor(model, target) for name, predictor in predictors.items()}
    first = next(iter(predicted))
    table = metrics.prediction(
        model.get_normalized_expression(real),
        predicted.pop(first),
        cells(target | control),
        contexts=contexts,
        others=predicted,
        **{"basis": x, **judge_kwargs},
    )
    table = table.rename(columns={"predicted": first}).drop(columns="best")
    long = table.reset_index(names="metric").melt("metric", var_name="predictor")
    return long.assign(**{factor: str(label) for factor, label in target.items()})[
        [*target, "predictor", "metric", "value"]
    ]
