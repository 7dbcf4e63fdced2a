"""Methods of prediction, one row each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from scmichigan._checks import check_choice


@dataclass(frozen=True)
class Method:
    """How an unseen combination is predicted.

    Parameters
    ----------
    name
        What it is called.
    weights
        Where its mean expression comes from. ``"similarity"``: the best linear unbiased prediction from all observed means
        that are involved, which counts similar contexts more and noisy differences less. ``"equal"``: the mean of each
        reference, plus the plain mean difference over its contexts. Or the weight of each context in this mean, by the
        context's label (a tuple of labels, for more than two keys); contexts that are not named have 0.
    cells
        How cells with this mean are made. ``"real"``: of measured cells, which are moved to it. ``"generator"``: by a
        trained generator, from latents that are moved in the same way.

    Raises
    ------
    ValueError
        If ``weights`` or ``cells`` is none of the choices.

    Examples
    --------
    >>> from dataclasses import replace
    >>> method = replace(METHODS["additive"], weights={"T cells": 2, "monocytes": 1})
    >>> predictor.predict(labels, method=method)
    """

    name: str
    weights: Literal["similarity", "equal"] | Mapping[object, float] = "similarity"
    cells: Literal["real", "generator"] = "real"

    def __post_init__(self) -> None:
        if not isinstance(self.weights, Mapping):
            check_choice("weights", self.weights, ("similarity", "equal"))
        check_choice("cells", self.cells, ("real", "generator"))


METHODS = {
    method.name: method
    for method in (
        Method("kriging", weights="similarity", cells="real"),
        Method("additive", weights="equal", cells="real"),
        Method("kriging_generator", weights="similarity", cells="generator"),
        Method("paper", weights="equal", cells="generator"),
    )
}
"""The methods that are known by a name."""
