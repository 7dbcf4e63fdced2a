"""The space that cells are compared in: genes, or principal components. Legend: n cells, g genes."""

from typing import Any

from sklearn.decomposition import PCA

from scmichigan._arrays import Matrix, fit_pca
from scmichigan._cells import Cells, matrices

Basis = Cells | PCA  # cells that components are fitted on, or fitted components


def checked(sides: dict[str, Cells], basis: Basis | None) -> tuple[Any, ...]:
    """Give the sides as matrices, and after them the basis: a matrix, a PCA that fits them, or None."""
    if basis is None:
        return *matrices(sides), None
    if not isinstance(basis, PCA):
        return tuple(matrices(sides | {"basis": basis}))
    sides_ng = matrices(sides)
    if not hasattr(basis, "components_"):
        raise ValueError("basis is a PCA that is not fitted: call its fit, or give the cells to fit it on")
    if basis.n_features_in_ != sides_ng[0].shape[1]:
        raise ValueError(
            f"basis was fitted on {basis.n_features_in_} genes, the cells have {sides_ng[0].shape[1]}: "
            "fit it on the same genes"
        )
    return *sides_ng, basis


def fitted_pca(basis: Matrix | PCA, *, n_components: int, seed: int) -> PCA:
    """Fit a PCA unless the basis is one."""
    return basis if isinstance(basis, PCA) else fit_pca(basis, n_components=n_components, seed=seed)
