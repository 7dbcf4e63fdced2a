"""Methods of scvi-tools' own models: those that ours do not have say what to do instead."""

import pytest
import scvi

from scmichigan import CWGANGP, GMM, PPCA, WGANGP, BetaTCVAE, InfoWGANGP, MichiGAN, SemiSupervisedInfoWGANGP

GANS = [CWGANGP, WGANGP, InfoWGANGP, MichiGAN, SemiSupervisedInfoWGANGP]
SCVI = scvi.model.SCVI
# What does what it does in scvi-tools: registration, files, and the methods of ours that have the names of theirs.
OF_ALL = {
    "convert_legacy_save",
    "data_registry",
    "deregister_manager",
    "get_anndata_manager",
    "get_from_registry",
    "get_latent_representation",
    "get_setup_arg",
    "get_state_registry",
    "get_var_names",
    "load",
    "load_registry",
    "register_manager",
    "save",
    "setup_anndata",
    "to_device",
    "train",
    "transfer_fields",
    "update_setup_method_args",
    "view_anndata_setup",
    "view_registry",
    "view_setup_args",
    "view_setup_method_args",
}
OF_GANS = {"get_normalized_expression"}
OF_VAES = {"get_normalized_expression", "get_elbo", "get_reconstruction_error"}
WORKS = {PPCA: OF_ALL, GMM: OF_ALL, BetaTCVAE: OF_ALL | OF_VAES} | dict.fromkeys(GANS, OF_ALL | OF_GANS)


@pytest.mark.parametrize("cls", WORKS, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize(
    "name", [name for name in dir(SCVI) if not name.startswith("_") and callable(getattr(SCVI, name))]
)
def test_methods_of_scvi_work_or_say_what_to_do_instead(cls, name):
    if name in WORKS[cls]:
        assert "Not available" not in (getattr(cls, name).__doc__ or "")
        return
    method = getattr(cls, name)
    assert method.__name__ == name
    for call in (method, lambda: method("adata", n_samples=3)):  # whatever it is given
        with pytest.raises(NotImplementedError, match=rf"^{cls.__name__} has no {name}: \w.{{20}}") as error:
            call()
    instead = str(error.value).partition(": ")[2]
    assert method.__doc__ == f"Not available: {instead}."
