"""What is registered of cells, and what a model asks of the registered ones."""

from ._expression import check_scale, checked_expression
from ._fields import (
    CategoryCovariatesField,
    CategoryField,
    ExpressionField,
    NumberCovariatesField,
    check_genes,
)
from ._registered import RegisteredCells
from ._setup import (
    Modalities,
    check_setup_arguments,
    latent_fields,
    protein_fields,
    refuse_covariates,
    size_factor_fields,
)
