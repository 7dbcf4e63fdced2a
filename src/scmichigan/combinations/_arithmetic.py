"""Arithmetic on the means of observed combinations of labels (Yu and Welch 2021, "Latent space vector arithmetic").

A combination is one label of each key. A reference of the target differs from it in the label of one key; its contexts
are the labels of the other keys that were seen with both labels. The mean of the target is a weighted sum of observed means.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

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
    """An observed combination that the target can be predicted from."""

    labels: Labels
    position: int  # of the key whose label is changed
    rows: np.ndarray  # of its cells
    contexts: tuple[Labels, ...]

    def pairs(self, target: Labels) -> list[tuple[Labels, Labels]]:
        """Each context with the label of the reference, and with that of the target."""
        return [(_join(c, self.position, self.labels), _join(c, self.position, target)) for c in self.contexts]


def observed_combinations(obs: pd.DataFrame, keys: Sequence[str]) -> dict[Labels, np.ndarray]:
    """Rows of each combination of labels; cells with a missing label belong to none."""
    complete = obs[list(keys)].notna().all(axis=1).to_numpy()
    groups = obs[list(keys)].astype(object)[complete].groupby(list(keys), sort=True).indices
    rows = np.flatnonzero(complete)
    return {labels: rows[index] for labels, index in groups.items()}


def find_references(groups: Groups, keys: Sequence[str], target: Labels, key: str) -> list[Reference]:
    """References that differ from the target in the label of ``key`` and share at least one context with it."""
    position = list(keys).index(key)
    others = [c for c in groups if c != target]
    with_label = [_context(c, position) for c in others if c[position] == target[position]]
    beside = [c for c in others if _context(c, position) == _context(target, position)]
    contexts = {c: tuple(x for x in with_label if _join(x, position, c) in groups) for c in beside}
    return [Reference(c, position, groups[c], contexts[c]) for c in beside if contexts[c]]


def _context(labels: Labels, position: int) -> Labels:
    return (*labels[:position], *labels[position + 1 :])


def _join(context: Labels, position: int, labels: Labels) -> Labels:
    return (*context[:position], labels[position], *context[position:])


def involved_combinations(references: Sequence[Reference], target: Labels) -> list[Labels]:
    """The references, and their contexts with the reference's and with the target's label."""
    in_contexts = {labels for reference in references for pair in reference.pairs(target) for labels in pair}
    return sorted(in_contexts | {reference.labels for reference in references}, key=str)


def choose_key(usable: Mapping[str, Sequence[Reference]], target: Labels, mean_of: MeanOf) -> str:
    """The key whose label makes the smallest difference in the contexts of its references; last, those without any."""

    def difference(key: str) -> float:
        pairs = [pair for reference in usable[key] for pair in reference.pairs(target)]
        return float(np.mean([np.sum((mean_of(b)[0] - mean_of(a)[0]) ** 2) for a, b in pairs])) if pairs else np.inf

    return min(usable, key=difference)


def select_references(
    usable: Sequence[Reference], keys: Sequence[str], target: Labels, key: str, chosen: Sequence[object] | None
) -> list[Reference]:
    """The references with the chosen labels of the key, by default all; an error where one cannot be used."""
    if not usable:
        raise ValueError(f"no reference for {dict(zip(keys, target, strict=True))} along {key!r}: {NEEDED}")
    if chosen is None:
        return list(usable)
    by_label = {r.labels[r.position]: r for r in usable}
    unusable, known = [r for r in chosen if r not in by_label], sorted(map(str, by_label))
    if unusable or not chosen:
        raise ValueError(f"references {unusable} cannot be used along {key!r}; choose from {known}")
    return [by_label[r] for r in chosen]


@dataclass(frozen=True)
class Arithmetic:
    """The mean of an unseen combination, as a weighted sum of observed means for each reference."""

    keys: tuple[str, ...]
    target: Labels
    levels: tuple[object, ...]  # the target's label of the changed key, or the two labels that it lies between
    references: tuple[Reference, ...]
    proportions: np.ndarray  # of the cells that start from each reference
    combinations: tuple[Labels, ...]
    means: np.ndarray  # of their expression, (n_combinations, n_genes)
    weights: np.ndarray  # (n_references, n_combinations); rows sum to 1

    @property
    def position(self) -> int:
        """The position of the key whose label is changed."""
        return self.references[0].position

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

    def shifts(self, latent_nk: np.ndarray, groups: Groups) -> np.ndarray:
        """From each reference to the target in the latents of the cells, shape ``(n_references, n_latent)``."""
        means_mk = np.stack([latent_nk[groups[c]].mean(axis=0) for c in self.combinations])
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

    ``along`` and ``references`` are as users give them.
    """
    if along is not None and along not in keys:
        raise ValueError(f"along is {along!r}; it must be one of the target's keys {keys}")
    usable = {key: find_references(groups, keys, target, key) for key in ([along] if along else keys)}
    key = along or choose_key(usable, target, mean_of)
    chosen = select_references(usable[key], keys, target, key, references)
    combinations = involved_combinations(chosen, target)
    means, deviations = zip(*map(mean_of, combinations), strict=True)
    means, position, proportions = np.stack(means), chosen[0].position, np.zeros(len(chosen))
    if weights == "similarity":
        sizes = np.array([len(groups[c]) for c in combinations])
        # One variance for all: that of a combination with few cells is hardly known.
        noise = sum(deviations) / max(1, sizes.sum() - len(sizes)) / sizes
        row = _similarity_weights(combinations, position, target, means @ means.T, noise)
        rows = np.tile(row, (len(chosen), 1))
        proportions = np.maximum([row[combinations.index(r.labels)] for r in chosen], 0)
    else:
        rows = _context_weights(combinations, target, chosen, weights)
    if not proportions.any():
        proportions = np.array([len(r.rows) for r in chosen])
    levels = (target[position],)
    return Arithmetic(tuple(keys), target, levels, tuple(chosen), proportions, tuple(combinations), means, rows)


def plan_between(
    groups: Groups, keys: Sequence[str], target: Labels, mean_of: MeanOf, *, along: str, weights: Weights
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
        labels, one = (*target[:position], level, *target[position + 1 :]), np.ones(1)
        if labels in groups:  # made of itself
            itself, mean = (Reference(labels, position, groups[labels], ()),), mean_of(labels)[0][None]
            parts.append(Arithmetic(tuple(keys), labels, (level,), itself, one, (labels,), mean, one[None]))
        else:
            parts.append(plan_arithmetic(groups, keys, labels, mean_of, along=along, weights=weights))
    combinations = sorted({c for part in parts for c in part.combinations}, key=str)
    references = {r.labels: r for part in parts for r in part.references}
    row, proportions = np.zeros(len(combinations)), np.zeros(len(references))
    for part, weight in zip(parts, (1 - fraction, fraction), strict=True):
        of_references = weight * part.proportions / part.proportions.sum()
        row[[combinations.index(c) for c in part.combinations]] += of_references @ part.weights
        proportions[[list(references).index(r.labels) for r in part.references]] += of_references
    means, rows = np.stack([mean_of(c)[0] for c in combinations]), np.tile(row, (len(references), 1))
    of_target = tuple(keys), target, (low, high), tuple(references.values())
    return Arithmetic(*of_target, proportions, tuple(combinations), means, rows)


def _similarity_weights(
    combinations: Sequence[Labels], position: int, target: Labels, gram_mm: np.ndarray, noise_m: np.ndarray
) -> np.ndarray:
    labelled = [*combinations, target]
    names = [_context(c, position) for c in labelled], [c[position] for c in labelled]
    (*context_m, context), (*level_m, level) = (
        pd.factorize(pd.Index(each, dtype=object, tupleize_cols=False))[0] for each in names
    )
    return best_linear_weights(gram_mm, noise_m, np.array(context_m), np.array(level_m), target=(context, level))


def _name(context: Labels) -> object:
    """What users call a context: its label, or a tuple of them where there are several."""
    return context[0] if len(context) == 1 else context


def _context_weights(
    combinations: Sequence[Labels], target: Labels, references: Sequence[Reference], given: Weights
) -> np.ndarray:
    """Each reference plus the mean change of its contexts, weighted where weights are given."""
    names = list(dict.fromkeys(_name(c) for r in references for c in r.contexts))
    given = given if isinstance(given, Mapping) else dict.fromkeys(names, 1)
    unknown = [name for name in given if name not in names]
    if unknown:
        raise ValueError(f"weights has {unknown}, which are no contexts of these references; choose from {names}")
    weights = np.zeros((len(references), len(combinations)))
    for row, reference in zip(weights, references, strict=True):
        of_context = np.array([given.get(_name(c), 0) for c in reference.contexts], dtype=float)
        if not (np.isfinite(of_context).all() and (of_context >= 0).all() and of_context.sum() > 0):
            raise ValueError(
                f"weights are {dict(given)}; give finite ones of 0 or more, and not only 0 for the contexts "
                f"{[_name(c) for c in reference.contexts]}"
            )
        row[combinations.index(reference.labels)] = 1
        pairs = reference.pairs(target)
        for (without, with_label), fraction in zip(pairs, of_context / of_context.sum(), strict=True):
            row[combinations.index(with_label)] += fraction
            row[combinations.index(without)] -= fraction
    return weights
