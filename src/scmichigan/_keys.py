"""Every AnnData key that scmichigan reads or writes by default, named once."""

# obsm: posterior means and variances of a latent. Variances of other latents are found under their key and "_var", too.
LATENT = "X_michigan"
LATENT_VAR = "X_michigan_var"
PREDICTED_LATENT = "X_michigan_predicted"  # of a predicted combination; NaN for cells that are no source of it

# uns: tables of metrics, of real, generated or predicted cells
DISENTANGLEMENT = "michigan_disentanglement"
GENERATOR_DISENTANGLEMENT = "michigan_generator_disentanglement"
REALISM = "michigan_realism"
PREDICTION = "michigan_prediction"

# obsm: what belongs to these tables
INFERRED_FACTORS = "michigan_inferred_factors"  # of generated cells, from the real cells nearest to them
PROBABILITY_REAL = "michigan_probability_real"  # of being real, by a random forest on principal components and on genes

# Generated cells
PROVENANCE = "michigan"  # uns: how they were made
SOURCE = "michigan_source"  # obs: name of the cell whose latent each one was made from
PARTNER = "michigan_partner"  # obs: name of the cell of another combination that some of the genes come from
REFERENCE = "michigan_reference"  # obs: labels of the reference combination of each predicted cell
COUNTS = "counts"  # layers
TOTAL_COUNTS = "total_counts"  # obs: what counts are normalised by, where the model has no key of its own
PROTEINS = "X_michigan_protein"  # obsm: log-normalised proteins, where they are registered in the obsm of an AnnData
PROTEIN_COUNTS = "protein_counts"  # obsm, on the way to a MuData

# obs of traversals: latent dimension, number of the walk and of the step, all from 1, and the value of the dimension
DIMENSION = "dimension"
WALK = "walk"
STEP = "step"
VALUE = "value"

# Names of the latents in a minibatch
LATENT_MEAN_TENSOR = "latent_mean"
LATENT_VAR_TENSOR = "latent_var"
