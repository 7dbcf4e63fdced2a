"""Latent arithmetic for combinations of labels (Yu and Welch 2021, "Latent space vector arithmetic").

A combination is one label for each of the given obs keys. A reference of the target differs from it in the label of one
key; the shift from reference to target is the mean, over the contexts (labels of the other keys) that were seen with
both labels, of the difference between the mean latents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

_ROUNDING = 1e-4  # of a count, which float32 cannot tell from a whole one

Labels = tuple[object, ...]


@dataclass(frozen=True)
class Reference:
    """An observed combination from which the target can be predicted.

    Attributes
    ----------
    labels
        Label of each key.
    rows
        Its cells.
    contexts
        Labels of the other keys over which the shift is averaged.
    """

    labels: Labels
    rows: np.ndarray
    contexts: tuple[Labels, ...]


def observed_combinations(obs: pd.DataFrame, keys: Sequence[str]) -> dict[Labels, np.ndarray]:
    """Rows of each combination of labels; cells with a missing label belong to none."""
    complete = obs[list(keys)].notna().all(axis=1).to_numpy()
    groups = obs[list(keys)].astype(object)[complete].groupby(list(keys), sort=True).indices
    rows = np.flatnonzero(complete)
    return {labels: rows[index] for labels, index in groups.items()}


def find_references(groups: dict[Labels, np.ndarray], keys: Sequence[str], target: Labels, key: str) -> list[Reference]:
    """References that differ from the target in the label of ``key`` and share at least one context with it."""
    position = list(keys).index(key)

    def replace(labels: Labels, label: object) -> Labels:
        return (*labels[:position], label, *labels[position + 1 :])

    def context_of(labels: Labels) -> Labels:
        return (*labels[:position], *labels[position + 1 :])

    references = []
    for labels, rows in groups.items():
        if labels == target or context_of(labels) != context_of(target):
            continue
        contexts = tuple(
            context_of(other)
            for other in groups
            if other[position] == target[position] and other != target and replace(other, labels[position]) in groups
        )
        if contexts:
            references.append(Reference(labels, rows, contexts))
    return references


def choose_key(groups: dict[Labels, np.ndarray], keys: Sequence[str], target: Labels) -> str:
    """The key whose shift rests on the most contexts; the first of ``keys`` among equals."""

    def n_contexts(key: str) -> int:
        return max((len(r.contexts) for r in find_references(groups, keys, target, key)), default=0)

    return max(keys, key=n_contexts)


def latent_shift(
    latent: np.ndarray, groups: dict[Labels, np.ndarray], keys: Sequence[str], *, target: Labels, reference: Reference
) -> np.ndarray:
    """Mean over the contexts of mean latent with the target's label minus mean latent with the reference's label.

    Parameters
    ----------
    latent
        Shape ``(n_cells, n_latent)``.
    groups, keys
        See :func:`observed_combinations`.
    target, reference
        Where to and where from.

    Returns
    -------
    Shape ``(n_latent,)``.
    """
    (position,) = (i for i in range(len(keys)) if target[i] != reference.labels[i])

    def mean(label: object, context: Labels) -> np.ndarray:
        return latent[groups[(*context[:position], label, *context[position:])]].mean(axis=0)

    shifts = [mean(target[position], c) - mean(reference.labels[position], c) for c in reference.contexts]
    return np.mean(shifts, axis=0)


def rectify_keeping_means(x: np.ndarray) -> np.ndarray:
    """Remove negative values without moving the mean of any column.

    Setting negative values to zero alone would raise every mean; here each column is also lowered by the one offset
    that makes up for it: ``max(x - offset, 0)``. Columns with a negative mean become zero.

    Parameters
    ----------
    x
        Cells x genes.

    Returns
    -------
    Same shape and dtype, nowhere negative.
    """
    wanted = np.maximum(x.mean(axis=0, dtype=np.float64), 0)
    low, high = np.zeros_like(wanted), np.maximum(x.max(axis=0).astype(np.float64), 0)
    # Bisection: the mean of max(x - offset, 0) falls with the offset; 30 halvings are beyond float32.
    for _ in range(30):
        offset = (low + high) / 2
        too_high = np.maximum(x - offset.astype(x.dtype), 0).mean(axis=0, dtype=np.float64) > wanted
        low, high = np.where(too_high, offset, low), np.where(too_high, high, offset)
    return np.maximum(x - high.astype(x.dtype), 0)


def round_on_log_scale(x: np.ndarray, scale: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Counts whose expected log-normalised value is the given one.

    Each value lies between those of two successive counts; one of the two is drawn, with the probabilities that keep
    the value on average.

    Parameters
    ----------
    x
        Values of ``log1p(scale * counts)``, not negative, shape ``(n_cells, n_genes)``.
    scale
        What one count is in each cell, shape ``(n_cells, 1)``.
    rng
        Of the draws.

    Returns
    -------
    Whole numbers of the same shape, float64.
    """
    below = np.floor(np.expm1(x.astype(np.float64)) / scale + _ROUNDING)
    low, high = np.log1p(scale * below), np.log1p(scale * (below + 1))
    return below + (rng.random(x.shape) < (x - low) / (high - low))
