"""Where the latents of cells come from, one small class each.

All have ``posterior(adata, indices)``, ``encode(x, cells)``, ``name``, ``model`` and ``file()``.
"""

from ._model import FittedLatent, ModelLatent, check_latent_model, model_of, posterior_of, setup_arguments
from ._prior import PriorLatent
from ._stored import StoredLatent, cells_for_expression, cells_with_latent, check_width, lacks_latent, stored

__all__ = [
    "FittedLatent",
    "ModelLatent",
    "PriorLatent",
    "StoredLatent",
    "cells_for_expression",
    "cells_with_latent",
    "check_latent_model",
    "check_width",
    "lacks_latent",
    "model_of",
    "posterior_of",
    "setup_arguments",
    "stored",
]
