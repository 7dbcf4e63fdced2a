from dataclasses import replace

import pytest

from scmichigan.module import GANSettings


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"latent": "mean"}, "latent is 'mean'; choose 'stored' or 'prior'"),
        ({"critic_head": "sum"}, "critic_head is 'sum'; choose 'projection' or 'concatenation' or None"),
        ({"information": "real"}, "information is 'real'; choose 'generated' or 'both' or None"),
        ({"loss": ["wgan-gp"]}, r"loss is \['wgan-gp'\]; choose 'relativistic' or 'wgan-gp'"),
        ({"information_weight": "a"}, "information_weight is 'a'; it must be finite and at least 0"),
        ({"penalty_weight": float("inf")}, "penalty_weight is inf; it .* at least 0, or None for the loss's own"),
        ({"average_decay": 1.0}, "average_decay is 1.0; it .* at least 0 and below 1, or None for no average"),
        ({"dropout": None}, "dropout is None; it must be at least 0 and below 1"),
        ({"critic_components": True + 0.5}, "critic_components is 1.5; it must be a whole number, at least 0"),
        ({"critic_hidden": [16, -4]}, r"critic_hidden is \[16, -4\]; it must be a sequence"),
        ({"scale_inputs": 1}, "scale_inputs is 1; it must be True or False"),
    ],
)
def test_settings_out_of_range(setting, message):
    with pytest.raises(ValueError, match=message):
        GANSettings(**setting)
    with pytest.raises(ValueError, match=message):
        replace(GANSettings(), **setting)


def test_settings_at_their_limits():
    settings = GANSettings(penalty_weight=None, average_decay=None, thinning=1, dropout=0, n_noise=0)
    assert replace(settings, observation="poisson").makes_counts
    assert not settings.makes_counts
