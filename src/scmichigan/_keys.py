"""Every AnnData key that scmichigan reads or writes by default, named once."""

LATENT = "X_michigan"
"""obsm: posterior means of the latent that the generator was trained on."""

LATENT_VAR = "X_michigan_var"
"""obsm: posterior variances of the same latent. Those of any other latent are looked for under its key and "_var", too."""

DISENTANGLEMENT = "michigan_disentanglement"
"""uns: how disentangled the latents of these cells are."""

GENERATOR_DISENTANGLEMENT = "michigan_generator_disentanglement"
"""uns of generated AnnData: how disentangled the latents are that they were made from, as the cells show it."""

INFERRED_FACTORS = "michigan_inferred_factors"
"""obsm of generated cells: their factors, from the real cells nearest to them."""

REALISM = "michigan_realism"
"""uns of generated AnnData: how real they are."""

PROBABILITY_REAL = "michigan_probability_real"
"""obsm: a random forest's probability that each cell is real, on principal components and on genes."""

PREDICTION = "michigan_prediction"
"""uns of predicted AnnData: how good the prediction is."""

PREDICTED_LATENT = "X_michigan_predicted"
"""obsm: latents of a predicted combination, NaN for cells that are no source of it."""

SOURCE = "michigan_source"
"""obs of generated cells: name of the cell whose latent each one was made from."""

DIMENSION = "dimension"
WALK = "walk"
STEP = "step"
VALUE = "value"
"""obs of traversals: the latent dimension that is walked along and the number of the walk and of the step, all from 1,
and the value of the dimension."""

PARTNER = "michigan_partner"
"""obs of predicted cells: name of the cell of another combination that some of the genes come from."""

REFERENCE = "michigan_reference"
"""obs of predicted cells: labels of the reference combination each one came from."""

PROVENANCE = "michigan"
"""uns of generated AnnData: how they were made."""

COUNTS = "counts"
"""layers of generated cells: their counts."""

TOTAL_COUNTS = "total_counts"
"""obs of generated cells: what their counts are normalised by, where the model has no key of its own."""

PROTEINS = "X_michigan_protein"
"""obsm of generated cells: their proteins, log-normalised, where they are registered in the obsm of an AnnData."""

PROTEIN_COUNTS = "protein_counts"
"""obsm of generated cells on their way to a MuData: the counts of their proteins."""

LATENT_MEAN_TENSOR = "latent_mean"
LATENT_VAR_TENSOR = "latent_var"
"""Names of the latents in a minibatch."""
