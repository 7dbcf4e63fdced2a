"""Files of models: what may be in them, and where they may come from."""

import re
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyro
import pytest
import torch

from scmichigan import PPCA, WGANGP, BetaTCVAE, InfoWGANGP, MichiGAN


class _Code:
    """What runs when it is unpickled."""

    ran = False

    @classmethod
    def run(cls):
        cls.ran = True

    def __reduce__(self):
        return _Code.run, ()


def _spoil(path: Path) -> None:
    saved = torch.load(path, weights_only=False)
    saved["attr_dict"]["note_"] = _Code()
    torch.save(saved, path)


def _spoil_latent_model(path: Path) -> None:
    saved = torch.load(path, weights_only=False)
    inner = path.with_name("inner.pt")
    inner.write_bytes(saved["attr_dict"]["latent_file_"].numpy().tobytes())
    _spoil(inner)
    saved["attr_dict"]["latent_file_"] = torch.frombuffer(bytearray(inner.read_bytes()), dtype=torch.uint8)
    torch.save(saved, path)


@pytest.fixture
def models(counts, make_gan, make_vae):
    PPCA.setup_anndata(counts)
    ppca = PPCA(counts, n_latent=3)
    ppca.train()
    return make_gan(counts, fit={"max_epochs": 0}), make_vae(counts), ppca


def test_a_file_that_is_not_there_is_named(models, counts, tmp_path):
    for model in models:
        with pytest.raises(FileNotFoundError, match=r"nowhere/second_model.pt is not there: give the folder"):
            type(model).load(str(tmp_path / "nowhere"), counts, prefix="second_")
        with pytest.raises(FileNotFoundError, match=r"nowhere/model.pt is not there"):
            type(model).load(tmp_path / "nowhere")


def test_code_in_a_file_is_refused_before_it_runs(models, counts, tmp_path):
    for model in models:
        model.save(tmp_path / "model", overwrite=True)
        _spoil(tmp_path / "model" / "model.pt")
        message = rf"{re.escape(str(tmp_path))}/model/model.pt holds .*_Code, which .*add_safe_globals"
        with pytest.raises(ValueError, match=message):
            type(model).load(tmp_path / "model", counts)
    models[0].save(tmp_path / "model", overwrite=True)
    _spoil_latent_model(tmp_path / "model" / "model.pt")
    with pytest.raises(ValueError, match="the latent model in the file holds .*_Code"):
        MichiGAN.load(tmp_path / "model", counts)
    assert not _Code.ran
    torch.load(tmp_path / "model" / "inner.pt", weights_only=False)
    assert _Code.ran  # as it would have without the check


def test_files_hold_no_frames(models, tmp_path):
    """Those that pandas 3 pickled could not be read by pandas 2."""
    for model in models[:2]:
        model.train(max_epochs=1, batch_size=64, accelerator="cpu", enable_progress_bar=False)
        history = dict(model.history)
        model.save(tmp_path / "model", overwrite=True)
        assert model.history == history  # the very same frames
        found = torch.serialization.get_unsafe_globals_in_checkpoint(tmp_path / "model" / "model.pt")
        assert not [name for name in found if "pandas" in name]
        loaded = type(model).load(tmp_path / "model", model.adata)
        assert all(loaded.history[name].equals(frame) for name, frame in history.items())
        loaded.train(max_epochs=2, batch_size=64, accelerator="cpu", enable_progress_bar=False)
        assert all(len(loaded.history[name]) == len(frame) + 2 for name, frame in history.items())


@pytest.mark.parametrize("cls", [MichiGAN, WGANGP, InfoWGANGP])
def test_untrained_gans_are_saved_and_can_be_trained(counts, small, tmp_path, cls):
    cls.setup_anndata(counts)
    cls(counts, n_latent=3, **small.networks).save(tmp_path / "model")
    loaded = cls.load(tmp_path / "model", counts, accelerator="cpu")
    assert not loaded.is_trained
    latent_kwargs = {"max_epochs": 1} if cls is MichiGAN else None
    loaded.train(**small.gan_fit, latent_kwargs=latent_kwargs)
    assert np.isfinite(loaded.generate(5).X).all()


@pytest.mark.parametrize("cls", [MichiGAN, BetaTCVAE])
def test_hub(counts, make_gan, make_vae, tmp_path, cls):
    hub = pytest.importorskip("huggingface_hub")
    from scvi.hub import HubMetadata, HubModel

    model = {MichiGAN: make_gan, BetaTCVAE: make_vae}[cls](counts, batch_key="batch", labels_key="cell_type")
    model.save(tmp_path, overwrite=True, save_anndata=True)
    metadata = HubMetadata.from_dir(tmp_path, anndata_version=version("anndata"), model_parent_module="scmichigan")
    card = hub.ModelCard("---\nlicense: cc-by-4.0\n---\n")  # scvi-tools writes texts for its own models only
    HubModel(str(tmp_path), metadata=metadata, model_card=card).save()
    # The hub keeps these files of a model: a latent model in a file of its own would be lost.
    files = {"README.md", "_scvi_required_metadata.json", "adata.h5ad", "model.pt"}
    assert {file.name for file in tmp_path.iterdir()} == files
    loaded = HubModel(str(tmp_path)).model
    assert type(loaded) is cls
    np.testing.assert_array_equal(loaded.get_latent_representation(), model.get_latent_representation())
    np.testing.assert_array_equal(loaded.generate(20, seed=1).X, model.generate(20, seed=1).X)


def test_files_hold_nothing_of_other_models_of_the_session(counts, make_vae, tmp_path):
    model = make_vae(counts)
    store = pyro.get_param_store()
    with store.scope():
        store.setdefault("of another model", torch.ones(3), constraint=torch.distributions.constraints.positive)
        model.save(tmp_path / "model")
        assert "of another model" in store
    assert BetaTCVAE.load(tmp_path / "model", counts).is_trained
