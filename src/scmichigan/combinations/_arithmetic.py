"""Arithmetic on the means of observed combinations of labels (Yu and Welch 2021, "Latent space vector arithmetic").

A combination is one label of each key. A reference of the target differs from it in the label of one key; its contexts
are the labels of the other keys that were seen with both labels. The mean of the target is a weighted sum of observed means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from scmichigan import _keys

from ._best_linear import best_linear_weights

Labels = tuple[object, ...]
Groups = Mapping[Labels, np.ndarray]
"""Rows of the cells of each combination."""
MeanOf = Callable[[Labels], tuple[np.ndarray, float]]
"""Mean expression of a combination's cells, and their summed squared deviations from it."""
Weights = str | Mapping[object, float]

NEEDED = (
    "it takes cells that differ from it in one label alone, and others that were seen with both of these labels (a cell type "
    "with and without the drug, say); pandas.crosstab of the columns of obs shows what there is"
)


@dataclass(frozen=True)
class Reference:
    """An observed combination that the target can be predicted from: its labels, the rows of its cells, its contexts."""

    labels: Labels
    rows: np.ndarray
    contexts: tuple[Labels, ...]


def observed_combinations(obs: pd.DataFrame, keys: Sequence[str]) -> dict[Labels, np.ndarray]:
    """Rows of each combination of labels; cells with a missing label belong to none."""
    complete = obs[list(keys)].notna().all(axis=1).to_numpy()
    groups = obs[list(keys)].astype(object)[complete].groupby(list(keys), sort=True).indices
    rows = np.flatnonzero(complete)
    return {labels: rows[index] for labels, index in groups.items()}


def find_references(groups: Groups, keys: Sequence[str], target: Labels, key: str) -> list[Reference]:
    """References that differ from the target in the label of ``key`` and share at least one context with it."""
    position = list(keys).index(key)
    with_label = [_context(c, position) for c in groups if c[position] == target[position] and c != target]
    references = []
    for labels, rows in groups.items():
        if labels == target or _context(labels, position) != _context(target, position):
            continue
        contexts = tuple(c for c in with_label if join_labels(c, position, labels) in groups)
        if contexts:
            references.append(Reference(labels, rows, contexts))
    return references


def _context(labels: Labels, position: int) -> Labels:
    return (*labels[:position], *labels[position + 1 :])


def join_labels(context: Labels, position: int, labels: Labels) -> Labels:
    """The context with the label of the changed key that other labels have."""
    return (*context[:position], labels[position], *context[position:])


def involved_combinations(
    references: Sequence[Reference], keys: Sequence[str], target: Labels, key: str
) -> list[Labels]:
    """The references, and their contexts with the reference's and with the target's label."""
    position = list(keys).index(key)
    involved = {reference.labels for reference in references}
    for reference in references:
        for context in reference.contexts:
            involved |= {join_labels(context, position, labels) for labels in (reference.labels, target)}
    return sorted(involved, key=str)


def choose_key(groups: Groups, keys: Sequence[str], target: Labels, means: Mapping[Labels, np.ndarray]) -> str:
    """The key whose label makes the smallest difference in the contexts of its references, so that cells move least.

    ``means`` are those of the :func:`involved_combinations` of each key. Keys without references come last.
    """

    def difference(key: str) -> float:
        position = list(keys).index(key)
        squared = [
            np.sum((means[join_labels(c, position, target)] - means[join_labels(c, position, r.labels)]) ** 2)
            for r in find_references(groups, keys, target, key)
            for c in r.contexts
        ]
        return float(np.mean(squared)) if squared else np.inf

    return min(keys, key=difference)


def select_references(
    usable: Sequence[Reference], keys: Sequence[str], target: Labels, key: str, chosen: Sequence[object] | None
) -> list[Reference]:
    """The references with the chosen labels of the key, by default all; an error where one cannot be used."""
    if not usable:
        raise ValueError(f"no reference for {dict(zip(keys, target, strict=True))} along {key!r}: {NEEDED}")
    if chosen is None:
        return list(usable)
    by_label = {r.labels[list(keys).index(key)]: r for r in usable}
    unusable = [r for r in chosen if r not in by_label]
    if unusable or not chosen:
        known = sorted(map(str, by_label))
        raise ValueError(f"references {unusable} cannot be used along {key!r}; choose from {known}")
    return [by_label[r] for r in chosen]


@dataclass(frozen=True)
class Arithmetic:
    """The mean of an unseen combination, as a weighted sum of observed means for each reference.

    Attributes
    ----------
    keys, position
        obs keys, and the position of the one whose label is changed.
    target
        What is predicted.
    levels
        Labels of that key that are the target's: its own, or the two that it lies between.
    references, proportions
        Where cells start from, and in which proportion.
    combinations, means
        What the weights are of, and its mean expression, shape ``(n_combinations, n_genes)``.
    weights
        Shape ``(n_references, n_combinations)``; rows sum to 1.
    """

    keys: tuple[str, ...]
    position: int
    target: Labels
    levels: tuple[object, ...]
    references: tuple[Reference, ...]
    proportions: np.ndarray
    combinations: tuple[Labels, ...]
    means: np.ndarray
    weights: np.ndarray

    @classmethod
    def plan(
        cls,
        combinations: Sequence[Labels],
        means: np.ndarray,
        noise: np.ndarray,
        *,
        keys: Sequence[str],
        key: str,
        target: Labels,
        references: Sequence[Reference],
        weights: Weights,
    ) -> Arithmetic:
        """Find the weights; ``noise`` is the expected squared error of each mean, summed over genes."""
        position = list(keys).index(key)
        if isinstance(weights, str) and weights == "similarity":
            row = _similarity_weights(combinations, position, target, means @ means.T, noise)
            rows = np.tile(row, (len(references), 1))
            proportions = np.maximum([row[list(combinations).index(r.labels)] for r in references], 0)
        else:
            if isinstance(weights, Mapping):
                _check_contexts(weights, references)
            rows = np.stack([_context_weights(combinations, position, target, r, weights) for r in references])
            proportions = np.zeros(len(references))
        if not proportions.any():
            proportions = np.array([len(r.rows) for r in references])
        levels, combinations = (target[position],), tuple(combinations)
        return cls(tuple(keys), position, target, levels, tuple(references), proportions, combinations, means, rows)

    @property
    def key(self) -> str:
        """The key whose label is changed."""
        return self.keys[self.position]

    @property
    def positions(self) -> list[int]:
        """Where the references are among the combinations."""
        return [self.combinations.index(r.labels) for r in self.references]

    @property
    def targets(self) -> np.ndarray:
        """Mean expression of the target from each reference."""
        return self.weights @ self.means

    @property
    def target_mean(self) -> np.ndarray:
        """Mean expression of the target, from the references in their proportion."""
        return self.proportions @ self.targets / self.proportions.sum()

    @property
    def change(self) -> float:
        """How far cells are moved: root mean square over references, in their proportion."""
        squared = np.sum((self.targets - self.means[self.positions]) ** 2, axis=1)
        return float(np.sqrt(self.proportions @ squared / self.proportions.sum()))

    def shifts(self, means_mk: np.ndarray) -> np.ndarray:
        """From each reference to the target, the sum of other means of the combinations, such as those of latents."""
        return self.weights @ means_mk - means_mk[self.positions]

    def partners(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Combinations with the target's label that count for a reference, and how much; itself where there is none."""
        has_label = [labels[self.position] in self.levels for labels in self.combinations]
        weights = np.where(has_label, np.maximum(self.weights[i], 0), 0)
        if not weights.any():
            weights[self.positions[i]] = 1
        return np.flatnonzero(weights), weights[weights > 0]

    def table(self) -> pd.DataFrame:
        """Weights that are not 0, by the keys and the label of the reference; once for all where they are the same."""
        names = [str(reference.labels[self.position]) for reference in self.references]
        if len(names) > 1 and (self.weights == self.weights[0]).all():
            names = ["all"]
        rows = [
            (*map(str, labels), name, weight)
            for name, weights in zip(names, self.weights, strict=False)
            for labels, weight in zip(self.combinations, weights, strict=True)
            if weight != 0
        ]
        return pd.DataFrame(rows, columns=[*self.keys, _keys.REFERENCE, "weight"])


def plan_arithmetic(
    groups: Groups,
    keys: Sequence[str],
    target: Labels,
    mean_of: MeanOf,
    *,
    along: str | None = None,
    references: Sequence[object] | None = None,
    weights: Weights = "similarity",
) -> Arithmetic:
    """What the mean of an unseen combination is made of; a ``ValueError`` where nothing can predict it.

    ``mean_of`` is called with each combination that is involved; ``along`` and ``references`` are as users give them.
    """
    if along is not None and along not in keys:
        raise ValueError(f"along is {along!r}; it must be one of the target's keys {keys}")
    found = {key: find_references(groups, keys, target, key) for key in ([along] if along else keys)}
    involved = {c for key, usable in found.items() for c in involved_combinations(usable, keys, target, key)}
    expression = {c: mean_of(c) for c in involved}
    key = along or choose_key(groups, keys, target, {c: mean_g for c, (mean_g, _) in expression.items()})
    chosen = select_references(found[key], keys, target, key, references)
    combinations = involved_combinations(chosen, keys, target, key)
    sizes = np.array([len(groups[c]) for c in combinations])
    # One variance for all: that of a combination with few cells is hardly known.
    variance = sum(expression[c][1] for c in combinations) / max(1, sizes.sum() - len(sizes))
    means = np.stack([expression[c][0] for c in combinations])
    of_target = {"keys": keys, "key": key, "target": target, "references": chosen, "weights": weights}
    return Arithmetic.plan(combinations, means, variance / sizes, **of_target)


def plan_between(
    groups: Groups,
    keys: Sequence[str],
    target: Labels,
    mean_of: MeanOf,
    *,
    along: str,
    weights: Weights = "similarity",
) -> Arithmetic:
    """The same where the label of ``along`` is a number between observed ones.

    The mean is interpolated linearly between the means at the two next to it, each observed or predicted by
    :func:`plan_arithmetic`.
    """
    position = list(keys).index(along)
    observed = sorted({labels[position] for labels in groups})
    low, high = max(x for x in observed if x < target[position]), min(x for x in observed if x > target[position])
    fraction = float((target[position] - low) / (high - low))
    parts = []
    for level in (low, high):
        labels = (*target[:position], level, *target[position + 1 :])
        if labels in groups:
            parts.append(_observed(groups, keys, labels, mean_of, position))
        else:
            parts.append(plan_arithmetic(groups, keys, labels, mean_of, along=along, weights=weights))
    combinations = sorted({c for part in parts for c in part.combinations}, key=str)
    references = {r.labels: r for part in parts for r in part.references}
    row, proportions = np.zeros(len(combinations)), np.zeros(len(references))
    for part, weight in zip(parts, (1 - fraction, fraction), strict=True):
        of_references = weight * part.proportions / part.proportions.sum()
        row[[combinations.index(c) for c in part.combinations]] += of_references @ part.weights
        proportions[[list(references).index(r.labels) for r in part.references]] += of_references
    return replace(
        parts[0],
        target=target,
        levels=(low, high),
        references=tuple(references.values()),
        proportions=proportions,
        combinations=tuple(combinations),
        means=np.stack([mean_of(c)[0] for c in combinations]),
        weights=np.tile(row, (len(references), 1)),
    )


def _observed(groups: Groups, keys: Sequence[str], labels: Labels, mean_of: MeanOf, position: int) -> Arithmetic:
    """The mean of an observed combination, as one that is made of itself."""
    one, means, references = np.ones(1), mean_of(labels)[0][None], (Reference(labels, groups[labels], ()),)
    return Arithmetic(tuple(keys), position, labels, (labels[position],), references, one, (labels,), means, one[None])


def _similarity_weights(
    combinations: Sequence[Labels], position: int, target: Labels, gram_mm: np.ndarray, noise_m: np.ndarray
) -> np.ndarray:
    labelled = [*combinations, target]
    (context_m, _), (level_m, _) = (
        pd.factorize(pd.Index(names, dtype=object, tupleize_cols=False))
        for names in ([_context(c, position) for c in labelled], [c[position] for c in labelled])
    )
    last = int(context_m[-1]), int(level_m[-1])
    return best_linear_weights(gram_mm, noise_m, context_m[:-1], level_m[:-1], target=last)


def _name(context: Labels) -> object:
    """What users call a context: its label, or a tuple of them where there are several."""
    return context[0] if len(context) == 1 else context


def _check_contexts(given: Mapping[object, float], references: Sequence[Reference]) -> None:
    names = list(dict.fromkeys(_name(c) for r in references for c in r.contexts))
    unknown = [name for name in given if name not in names]
    if unknown:
        raise ValueError(f"weights has {unknown}, which are no contexts of these references; choose from {names}")


def _context_weights(
    combinations: Sequence[Labels], position: int, target: Labels, reference: Reference, given: Weights
) -> np.ndarray:
    """The reference plus the mean change of its contexts, weighted where weights are given."""
    is_given = isinstance(given, Mapping)
    of_context = np.array([given.get(_name(c), 0) if is_given else 1 for c in reference.contexts], dtype=float)
    if not (np.isfinite(of_context).all() and (of_context >= 0).all() and of_context.sum() > 0):
        raise ValueError(
            f"weights are {dict(given)}; give finite ones of 0 or more, and not only 0 for the contexts "
            f"{[_name(c) for c in reference.contexts]}"
        )
    at = {labels: i for i, labels in enumerate(combinations)}
    weights = np.zeros(len(combinations))
    weights[at[reference.labels]] = 1
    for context, fraction in zip(reference.contexts, of_context / of_context.sum(), strict=True):
        weights[at[join_labels(context, position, target)]] += fraction
        weights[at[join_labels(context, position, reference.labels)]] -= fraction
    return weights
