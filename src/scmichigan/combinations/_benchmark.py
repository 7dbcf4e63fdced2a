"""Predictions of combinations that were hidden from every fit, beside simple ones."""

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
from scmichigan._checks import check_labels, check_level, check_levels, check_obs_keys

from ._arithmetic import NEEDED, observed_combinations
from ._combination_predictor import CombinationPredictor
from ._confidence import is_predictable
from ._registration import register_cells

Fit = Callable[[AnnData, list[str]], Any]
Predict = Callable[[Any, dict[str, Any]], AnnData]

_LEAST_CELLS = 10
_OF_EXPRESSION = ("layer", "size_factor_key", "expression", "target_sum")
_PREDICTORS: dict[str, Predict] = {
    "kriging": lambda predictor, labels: predictor.predict(labels, method="kriging"),
    "additive method": lambda predictor, labels: predictor.predict(labels, method="additive"),
}


def benchmark_predictions(
    adata: AnnData,
    keys: Sequence[str],
    control_labels: Mapping[str, Any],
    *,
    hold_out: Sequence[Mapping[str, Any]] | None = None,
    fit: Fit | None = None,
    predictors: Mapping[str, Predict] | None = None,
    n_genes: int = 2000,
    setup_kwargs: Mapping[str, Any] | None = None,
    judge_kwargs: Mapping[str, Any] | None = None,
    folder: Path | str | None = None,
    n_jobs: int = 1,
    seed: int = 0,
) -> pd.DataFrame:
    """Hide combinations of labels one at a time, select genes and fit without the cells of each, and judge predictions of it.

    Parameters
    ----------
    adata, keys
        As in :class:`CombinationPredictor`.
    control_labels
        The untreated label of one of the keys, such as ``{"condition": "ctrl"}``.
    hold_out
        Combinations to hide, such as ``{"cell_type": "B cells", "condition": "stim"}``; by default all treated ones with
        10 cells or more that the others can predict, and whose control was seen.
    fit
        Function that takes the training cells and the keys and gives what predicts; by default a
        :class:`CombinationPredictor`. :meth:`MichiGAN.benchmark_predictions` trains models.
    predictors
        Functions that take what was fitted and the labels to predict and return cells; the first is judged against the
        others. By default the methods ``"kriging"`` and ``"additive"``, as "kriging" and "additive method".
    n_genes
        Number of genes: those with the largest variance among the training cells.
    setup_kwargs
        Arguments of :class:`CombinationPredictor`; those of the expression are also used to select genes and to judge.
    judge_kwargs
        Arguments of :func:`~scmichigan.metrics.prediction`, such as ``n_cells``.
    folder
        Where the table of each combination is kept. What is there already is not run again; functions are known by their
        names and arguments alone, so take another folder when one of them is changed.
    n_jobs
        Combinations at a time, each in a process with one thread and a copy of the cells; -1 for as many as cores.
    seed
        Random seed.

    Returns
    -------
    One row for each combination, predictor and metric: the keys, "predictor", "metric" and "value". Predictors are those
    given, and "no change", "additive", "additive, weighted" and "real cells" (one half of the hidden cells against the
    other, the best there can be).

    Raises
    ------
    KeyError, ValueError
        If a column or label does not exist, there is nothing to hide, a fit is given without predictors, a name is that of a
        simple prediction, or the folder holds results of other arguments.

    Examples
    --------
    >>> table = mg.benchmark_predictions(adata, ["cell_type", "condition"], {"condition": "ctrl"})
    >>> table.pivot_table(index="metric", columns="predictor", values="value")
    """
    if fit is not None and predictors is None:
        raise ValueError("fit is given without predictors; give functions that predict from what it gives")
    predictors, setup_kwargs, judge_kwargs = (
        dict(given or {}) for given in (predictors or _PREDICTORS, setup_kwargs, judge_kwargs)
    )
    fit = fit or partial(CombinationPredictor, **setup_kwargs)
    check_labels(control_labels, "control_labels")
    control_labels = dict(control_labels)
    targets = _targets(adata, list(keys), control_labels, hold_out)
    if folder is not None:
        settings = {
            "genes": n_genes,
            "cells": f"{adata.n_obs}, {_fingerprint(adata, keys, setup_kwargs)}",
            "fit": _described(fit),
            "predictors": list(predictors),
            "arguments": repr((control_labels, setup_kwargs, judge_kwargs, seed)),
        }
        folder = _open(Path(folder), settings)
    run = delayed(_Run(adata, control_labels, fit, predictors, n_genes, setup_kwargs, judge_kwargs, seed))
    paths = [None if folder is None else folder / f"{_file_name(target)}.csv" for target in targets]
    jobs = [
        delayed(pd.read_csv)(path, dtype=dict.fromkeys(target, str)) if path and path.exists() else run(target, path)
        for target, path in zip(targets, paths, strict=True)
    ]
    with parallel_config("loky", inner_max_num_threads=1):
        tables = Parallel(n_jobs, return_as="generator")(jobs)
        return pd.concat(track(tables, "combinations", total=len(jobs)), ignore_index=True)


@dataclass(frozen=True)
class _Run:
    """Hides one combination, fits without it, and judges what is predicted of it; made to be sent to a process."""

    adata: AnnData
    control_labels: dict[str, Any]
    fit: Fit
    predictors: Mapping[str, Predict]
    n_genes: int
    setup_kwargs: dict[str, Any]
    judge_kwargs: dict[str, Any]
    seed: int

    def __call__(self, target: dict[str, Any], path: Path | None) -> pd.DataFrame:
        """Table of a combination, which is kept in the file; the first prediction is judged against the others."""
        hidden = np.logical_and.reduce([(self.adata.obs[key] == label).to_numpy() for key, label in target.items()])
        train, real = hide(self.adata, hidden, self.n_genes, **self.setup_kwargs)
        scvi.settings.seed = self.seed
        fitted = self.fit(train, list(target))
        (first, judged), *others = [(name, predict(fitted, target)) for name, predict in self.predictors.items()]
        x, truth = (log_normalized(cells, **self.setup_kwargs) for cells in (train, real))
        groups = observed_combinations(train.obs, list(target))
        (key,), contexts = self.control_labels, []
        for labels, rows in groups.items():
            context = dict(zip(target, labels, strict=True))
            control = groups.get(tuple((context | self.control_labels).values()))
            if context[key] == target[key] and control is not None:
                contexts.append((x[control], x[rows]))
        own_control = x[groups[tuple((target | self.control_labels).values())]]
        judge_kwargs = {"basis": x, "seed": self.seed, "enable_progress_bar": False, **self.judge_kwargs}
        table = metrics.prediction(truth, judged, own_control, contexts=contexts, others=dict(others), **judge_kwargs)
        table = table.rename(columns={"predicted": first}).drop(columns="best")
        table = table.reset_index(names="metric").melt("metric", var_name="predictor")
        table = table.assign(**{key: str(label) for key, label in target.items()})
        table = table[[*target, "predictor", "metric", "value"]]
        if path is not None:
            # In one step, for a killed run to leave no half of a table behind.
            table.to_csv(path.with_suffix(".part"), index=False)
            path.with_suffix(".part").replace(path)
        return table


def hide(adata: AnnData, hidden: np.ndarray, n_genes: int, **setup_kwargs: Any) -> tuple[AnnData, AnnData]:
    """Split cells into training and hidden ones, on the genes that vary most among the training cells.

    Parameters
    ----------
    adata, hidden
        Cells x genes, and which cells to hide, as truth values.
    n_genes
        Number of genes, those whose log-normalised expression has the largest variance.
    **setup_kwargs
        Arguments of :class:`CombinationPredictor`, of which those of the expression are used.

    Returns
    -------
    Copies of the training and of the hidden cells.
    """
    x = log_normalized(adata[~hidden], **setup_kwargs)
    variance = StandardScaler(with_mean=False).fit(x).var_
    genes = np.sort(np.argsort(-variance, kind="stable")[:n_genes])
    return adata[~hidden, genes].copy(), adata[hidden, genes].copy()


def log_normalized(adata: AnnData, **setup_kwargs: Any) -> np.ndarray | sp.csr_matrix:
    """Log-normalised expression of the genes; of the arguments of a setup, those of the expression are used."""
    given = {name: value for name, value in setup_kwargs.items() if name in _OF_EXPRESSION}
    return register_cells(adata, **given).expression()


def _targets(
    adata: AnnData, keys: list[str], control_labels: dict[str, Any], hold_out: Sequence[Mapping[str, Any]] | None
) -> list[dict[str, Any]]:
    """The combinations to hide, each of which can be predicted from the others."""
    check_obs_keys(adata.obs, keys)
    if len(keys) < 2 or len(control_labels) != 1 or not set(control_labels) <= set(keys):
        raise ValueError(
            f"keys are {keys}, control_labels are {control_labels}; give two or more columns, and a label of one"
        )
    check_level(adata, *next(iter(control_labels.items())))
    check_levels(adata, keys)
    groups = observed_combinations(adata.obs, keys)

    def problem(labels: tuple) -> str | None:
        n_cells = len(groups.get(labels, ()))
        if n_cells < _LEAST_CELLS:
            return f"it has {n_cells} cells; {_LEAST_CELLS} are the least"
        others = {other: rows for other, rows in groups.items() if other != labels}
        own_control = tuple((dict(zip(keys, labels, strict=True)) | control_labels).values())
        if own_control not in others:  # or it is one itself
            return f"it is no treated one whose control {own_control} was seen"
        if len(others[own_control]) < _LEAST_CELLS:
            return f"its control has {len(others[own_control])} cells; {_LEAST_CELLS} are the least"
        if not is_predictable(others, keys, labels):
            return f"the others cannot predict it: {NEEDED}"
        return None

    if hold_out is None:
        chosen = [dict(zip(keys, labels, strict=True)) for labels in groups if problem(labels) is None]
        if not chosen:
            raise ValueError(f"no combination of {keys} can be hidden: {problem(next(iter(groups)))}")
        return chosen
    if isinstance(hold_out, Mapping):
        raise ValueError(f"hold_out is {dict(hold_out)}; give a list of such combinations, [{dict(hold_out)}]")
    for target in hold_out:
        check_labels(target, "hold_out")
        if set(target) != set(keys):
            raise ValueError(f"hold_out has {target}; give one label for each of {keys}")
        for key, label in target.items():
            check_level(adata, key, label)
        found = problem(tuple(target[key] for key in keys))
        if found is not None:
            raise ValueError(f"{target} cannot be hidden: {found}; leave it out of hold_out")
    return [{key: target[key] for key in keys} for target in hold_out]


def _fingerprint(adata: AnnData, keys: Sequence[str], setup_kwargs: Mapping[str, Any]) -> str:
    """Differs where the cells do: their counts, labels and totals."""
    layer = setup_kwargs.get("layer")
    x = adata.layers[layer] if layer in adata.layers else adata.X
    columns = [*keys, *(key for name, key in setup_kwargs.items() if name.endswith("_key") and key in adata.obs)]
    labels = [adata.obs[column].astype(str).to_list() for column in columns]
    values = [x.data, x.indices, x.indptr] if sp.issparse(x) else [np.asarray(x)]
    return joblib.hash([values, adata.var_names.to_list(), labels])


def _described(function: Callable[..., Any]) -> str:
    """Name of a function, and the arguments that are bound to it."""
    if isinstance(function, partial):
        return f"{_described(function.func)}{(*function.args, function.keywords)!r}"
    return f"{function.__module__}.{getattr(function, '__qualname__', type(function).__qualname__)}"


def _open(folder: Path, settings: dict[str, Any]) -> Path:
    """The folder, with the settings written to it; refused where those of another run are there."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "settings.json"
    found = json.loads(path.read_text()) if path.exists() else settings
    differing = [f"{k} {found.get(k)!r} and not {here!r}" for k, here in settings.items() if found.get(k) != here]
    if differing:
        raise ValueError(
            f"{folder} holds results of other cells or arguments: {'; '.join(differing)}; give another folder, or empty it"
        )
    path.write_text(json.dumps(settings))
    return folder


def _file_name(target: dict[str, Any]) -> str:
    """Readable, and different for labels that differ only in what file names cannot hold."""
    labels = [str(label) for label in target.values()]
    readable = "".join(c if c.isalnum() else "_" for c in " ".join(labels))
    return f"{readable[:80]}_{zlib.crc32(repr(labels).encode()):08x}"
