from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from references import assert_same_with_gradients
from torch import nn
from torch.nn import functional as F
from toy_networks import SERIES, TABLE, batch, images

from lightning_modules.blocks.activations import ACTIVATIONS
from lightning_modules.blocks.dense import DENSE_BLOCKS
from lightning_modules.blocks.initialization import INIT_NAMES
from lightning_modules.errors import ConfigError
from lightning_modules.mlp import MLPConfig

KINDS = [TABLE, images(2, 3, 4), replace(TABLE, cardinalities=())]
CONFIGS = st.builds(
    MLPConfig,
    width=st.integers(4, 12),
    depth=st.integers(1, 4),
    taper=st.booleans(),
    block=st.sampled_from(sorted(DENSE_BLOCKS)),
    activation=st.sampled_from(sorted(ACTIVATIONS)),
    norm=st.sampled_from(["none", "batch", "layer", "group", "rms"]),
    norm_position=st.sampled_from(["before", "after"]),
    dropout=st.floats(0, 0.9),
    input_dropout=st.floats(0, 0.9),
    embedding_dim=st.integers(1, 5),
    init=st.sampled_from(INIT_NAMES),
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(config=CONFIGS, info=st.sampled_from(KINDS), seed=st.integers(0, 99))
def test_any_valid_config_builds_and_passes_finite_gradients_to_every_weight(config, info, seed):
    torch.manual_seed(seed)
    network = config.build(info)
    inputs, target = batch(info, rows=6)
    logits = network(inputs)
    assert logits.shape == (6, 3)
    F.cross_entropy(logits, target).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    assert MLPConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize("block", ["plain", "residual"])
def test_a_network_on_a_table_and_its_gradients_equal_one_built_by_hand(block):
    """Embeddings beside numbers, two blocks with layer norm, a bare output."""
    torch.manual_seed(0)
    network = MLPConfig(width=8, depth=2, block=block, norm="layer", dropout=0.0, embedding_dim=3).build(TABLE)
    inputs, _ = batch(TABLE, rows=6)
    codes = inputs["categories"]

    def linear(w, name, x):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def dense(w, name, x):
        z = linear(w, f"{name}.linear", x)
        z = (z - z.mean(1, keepdim=True)) / (z.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
        return torch.relu(z * w[f"{name}.norm.weight"] + w[f"{name}.norm.bias"])

    def reference(w, numeric):
        known = (codes > 0)[..., None]  # the unknown category is zero and gets no gradient
        rows = [torch.where(known[:, k], w[f"embeddings.{k}.weight"][codes[:, k]], 0) for k in range(2)]
        x = torch.cat([numeric, *rows], dim=1)
        if block == "plain":
            return linear(w, "output", dense(w, "blocks.1", dense(w, "blocks.0", x)))
        x = linear(w, "entry", x)
        for i in range(2):
            x = x + dense(w, f"blocks.{i}.branch", x)
        return linear(w, "output", x)

    def call(numeric):
        with torch.no_grad():  # moved by the comparison, as all parameters are
            for embedding in network.embeddings:
                embedding.weight[0].zero_()
        return network({"numeric": numeric, "categories": codes})

    assert_same_with_gradients(network, reference, inputs["numeric"], call=call)


def test_the_output_has_no_activation_and_no_dropout():
    network = MLPConfig(dropout=0.9).build(TABLE)
    assert list(network.children())[-1] is network.output
    assert type(network.output) is nn.Linear


def test_categories_go_through_embeddings_and_the_unknown_one_is_zero():
    torch.manual_seed(0)
    network = MLPConfig(embedding_dim=6).build(TABLE)
    assert [tuple(e.weight.shape) for e in network.embeddings] == [(3, 6), (5, 6)]
    assert network.blocks[0].linear.in_features == 4 + 2 * 6
    assert not any(e.weight[0].any() for e in network.embeddings)
    inputs, target = batch(TABLE)
    inputs["categories"][:] = 0
    F.cross_entropy(network(inputs), target).backward()
    assert not any(e.weight.grad.any() for e in network.embeddings)


def test_a_table_of_categories_alone_needs_no_numbers():
    info = replace(TABLE, num_features=0)
    inputs, _ = batch(info)
    assert MLPConfig().build(info)(inputs).shape == (4, 3)


def test_taper_halves_the_width_down_to_4():
    assert MLPConfig(width=32, depth=5, taper=True).widths() == [32, 16, 8, 4, 4]
    assert MLPConfig(width=32, depth=3).widths() == [32, 32, 32]


def test_the_number_of_outputs_is_the_datas_or_what_the_loss_asks():
    inputs, _ = batch(TABLE)
    assert MLPConfig().build(TABLE, num_outputs=1)(inputs).shape == (4, 1)


def test_the_same_seed_builds_the_same_network():
    states = []
    for _ in range(2):
        torch.manual_seed(7)
        states.append(MLPConfig(block="swiglu").build(TABLE).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_deep_plain_stack_of_sigmoids_is_warned_about_and_a_residual_one_is_not():
    (warning,) = MLPConfig(activation="sigmoid", depth=6).warnings(TABLE)
    assert warning.field == "activation"
    assert "sigmoid in 6 hidden layers passes at most 0.25^6" in warning.text
    assert MLPConfig(activation="sigmoid", depth=6, block="residual").warnings(TABLE) == []


def test_a_batch_of_one_row_is_refused_in_training_with_batch_norm():
    inputs, _ = batch(TABLE, rows=1)
    network = MLPConfig(norm="batch").build(TABLE)
    with pytest.raises(ConfigError, match="at least 2 rows"):
        network(inputs)
    assert network.eval()(inputs).shape == (1, 3)


def test_data_that_the_family_does_not_read_is_refused_with_the_family_that_does():
    with pytest.raises(ConfigError, match="mlp family reads tabular or image data, got series: take rnn or cnn"):
        MLPConfig().build(SERIES)


def test_data_without_any_input_is_refused():
    with pytest.raises(ConfigError, match="at least one input, got tabular data without any"):
        MLPConfig().build(replace(TABLE, num_features=0, cardinalities=()))


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"width": 3}, r"width: 4 <= width <= 16384 must hold, got 3 features: raise it"),
        ({"width": 8.0}, r"width: must be a whole number, got 8\.0"),
        ({"depth": True}, r"depth: must be a whole number, got True"),
        ({"dropout": 0.95}, r"dropout: 0\.0 <= dropout <= 0\.9 must hold, got 0\.95"),
        ({"dropout": float("nan")}, r"dropout: must be a finite number, got nan"),
        ({"taper": 1}, r"taper: must be true or false, got 1"),
        ({"norm": "instance"}, r"norm: must be one of none, batch, layer, group, rms, got 'instance'"),
        ({"activation": "rellu"}, r"activation: .* did you mean 'relu'\?"),
        ({"widht": 8}, r"widht: a setting must be one of .* got 'widht': did you mean 'width'\?"),
    ],
)
def test_a_setting_that_breaks_its_rule_is_refused(settings_, message):
    with pytest.raises(ConfigError, match=message):
        MLPConfig.from_dict(settings_)


def test_the_default_network_learns_the_digits():
    from sklearn.datasets import load_digits

    torch.manual_seed(0)
    pixels, digits = load_digits(return_X_y=True)
    x = torch.tensor((pixels - 4.9) / 6.0, dtype=torch.float32)
    y = torch.tensor(digits)
    info = replace(TABLE, num_outputs=10, num_features=64, cardinalities=())
    network = MLPConfig().build(info)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for _ in range(10):
        for rows in torch.randperm(1200).split(64):
            optimizer.zero_grad()
            F.cross_entropy(network({"numeric": x[rows]}), y[rows]).backward()
            optimizer.step()
    network.eval()
    accuracy = (network({"numeric": x[1200:]}).argmax(1) == y[1200:]).float().mean().item()
    assert accuracy > 0.92, "the last third holds other writers than the first two"
