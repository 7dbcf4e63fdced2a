"""Where latents come from, a class each: a name, posterior(adata, indices), encoder, model or none, and file()."""

from ._encoder import Encoder, ridge_encoder
from ._model import (
    FittedLatent,
    ModelLatent,
    check_latent_model,
    latent_of_file,
    model_of,
    posterior_of,
    setup_arguments,
)
from ._prior import PriorLatent
from ._stored import (
    StoredLatent,
    cells_for_expression,
    cells_with_latent,
    posterior_to_sample,
    sample_posterior,
)
