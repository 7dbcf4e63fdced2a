"""Every AnnData key that scmichigan reads or writes by default, named once."""

LATENT = "X_michigan"
"""obsm: posterior means of the latent that the generator was trained on."""

LATENT_VAR = "X_michigan_var"
"""obsm: posterior variances of the same latent."""

PREDICTED_LATENT = "X_michigan_predicted"
"""obsm: latents of a predicted combination, NaN for cells that are no source of it."""

SOURCE = "michigan_source"
"""obs of generated cells: name of the cell whose latent each one was made from."""

REFERENCE = "michigan_reference"
"""obs of predicted cells: labels of the reference combination each one came from."""

PROVENANCE = "michigan"
"""uns of generated AnnData: how they were made."""

COUNTS = "counts"
"""layers of generated cells: their counts."""

TOTAL_COUNTS = "total_counts"
"""obs of generated cells: what their counts are normalised by, where the model has no key of its own."""

LATENT_MEAN_TENSOR = "latent_mean"
LATENT_VAR_TENSOR = "latent_var"
"""Names of the latents in a minibatch."""
