from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from references import assert_same_with_gradients
from torch import nn
from torch.nn import functional as F
from toy_networks import SERIES, TABLE, TEXT, batch

from lightning_modules.blocks.initialization import INIT_NAMES
from lightning_modules.blocks.pooling import POOLINGS
from lightning_modules.blocks.recurrent import CELLS
from lightning_modules.errors import ConfigError
from lightning_modules.rnn import RNNConfig

CONFIGS = st.builds(
    RNNConfig,
    cell=st.sampled_from(sorted(CELLS)),
    width=st.integers(4, 6),
    depth=st.integers(1, 3),
    bidirectional=st.booleans(),
    pooling=st.sampled_from(sorted(POOLINGS)),
    embedding_dim=st.integers(1, 5),
    dropout=st.floats(0, 0.9),
    embedding_dropout=st.floats(0, 0.9),
    variational=st.booleans(),
    norm=st.sampled_from(["none", "layer", "rms"]),
    activation=st.sampled_from(["tanh", "relu"]),
    head_width=st.sampled_from([0, 5]),
    init=st.sampled_from(INIT_NAMES),
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(config=CONFIGS, info=st.sampled_from([TEXT, SERIES]), seed=st.integers(0, 99))
def test_any_valid_config_builds_and_passes_finite_gradients_to_every_weight(config, info, seed):
    torch.manual_seed(seed)
    network = config.build(info)
    inputs, target = batch(info)
    logits = network(inputs)
    assert logits.shape == (4, 3)
    F.cross_entropy(logits, target).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    assert RNNConfig.from_dict(config.to_dict()) == config


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(config=CONFIGS, seed=st.integers(0, 99))
def test_a_padded_step_never_changes_the_output_or_a_gradient(config, seed):
    torch.manual_seed(seed)
    network = replace(config, dropout=0.0, embedding_dropout=0.0).build(SERIES)
    lengths = torch.tensor([9, 4, 1])
    mask = (torch.arange(9) < lengths[:, None])[..., None]
    clean = (torch.randn(3, 9, 2) * mask).requires_grad_()
    dirty = torch.where(mask, clean.detach(), torch.tensor(1e3)).requires_grad_()
    outputs = [network({"series": x, "lengths": lengths}) for x in (clean, dirty)]
    assert torch.equal(outputs[0], outputs[1])
    gradients = [
        torch.autograd.grad(y.square().sum(), [x, *network.parameters()])
        for y, x in zip(outputs, (clean, dirty), strict=True)
    ]
    for ours, theirs in zip(*gradients, strict=True):
        assert torch.equal(ours, theirs)
    assert not gradients[1][0][~mask.expand(3, 9, 2)].any()
    for row, length in enumerate(lengths.tolist()):  # alone, without any padding
        alone = network({"series": clean[row : row + 1, :length], "lengths": lengths[row : row + 1]})
        torch.testing.assert_close(outputs[0][row : row + 1], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_more_padding_behind_every_row_changes_neither_output_nor_gradient(pooling):
    torch.manual_seed(0)
    config = RNNConfig(width=6, embedding_dim=5, pooling=pooling, dropout=0.0, embedding_dropout=0.0)
    network = config.build(TEXT).double()
    inputs, target = batch(TEXT)
    wider = {"tokens": F.pad(inputs["tokens"], (0, 5)), "lengths": inputs["lengths"]}
    outputs = [network(x) for x in (inputs, wider)]
    torch.testing.assert_close(*outputs)
    gradients = [torch.autograd.grad(F.cross_entropy(y, target), list(network.parameters())) for y in outputs]
    torch.testing.assert_close(*gradients)


def test_the_padding_token_is_zero_and_never_learns():
    torch.manual_seed(0)
    network = RNNConfig(width=6, embedding_dim=5).build(TEXT)
    inputs, target = batch(TEXT)
    F.cross_entropy(network(inputs), target).backward()
    assert not network.embedding.weight[0].any()
    assert not network.embedding.weight.grad[0].any()


def test_last_pooling_takes_the_forward_state_at_the_end_and_the_backward_state_at_the_start():
    torch.manual_seed(0)
    config = RNNConfig(width=6, pooling="last", depth=2, dropout=0.0, embedding_dropout=0.0, norm="none")
    network = config.build(SERIES)
    inputs, _ = batch(SERIES)
    for row, length in enumerate(inputs["lengths"].tolist()):
        steps = inputs["series"][row : row + 1, :length]
        for layer in network.layers:
            steps, _ = layer.cell(steps)  # no padding, no packing
        expected = network.output(torch.cat([steps[:, -1, :6], steps[:, 0, 6:]], dim=1))
        torch.testing.assert_close(network(inputs)[row : row + 1], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("cell", "kind"), [("vanilla", nn.RNN), ("lstm", nn.LSTM), ("gru", nn.GRU)])
def test_a_stack_of_layers_and_its_gradients_equal_torchs_own_with_copied_weights(cell, kind):
    config = RNNConfig(
        cell=cell, width=5, depth=3, pooling="mean", dropout=0.0, embedding_dropout=0.0, norm="none"
    )
    torch.manual_seed(0)
    network = config.build(SERIES)
    stacked = kind(2, 5, num_layers=3, bidirectional=True, batch_first=True).double()
    lengths = torch.full((4,), 9)

    def reference(w, series):
        layers = {n.partition(".cell.")[::2]: p for n, p in w.items() if n.startswith("layers.")}
        own = {name.replace("_l0", f"_l{layer.removeprefix('layers.')}"): p for (layer, name), p in layers.items()}
        steps, _ = torch.func.functional_call(stacked, own, (series,))
        return steps.mean(1) @ w["output.weight"].T + w["output.bias"]

    def call(series):
        return network({"series": series, "lengths": lengths})

    assert_same_with_gradients(network, reference, torch.randn(4, 9, 2), call=call)


def test_variational_dropout_holds_one_mask_for_all_steps():
    torch.manual_seed(0)
    config = RNNConfig(width=6, embedding_dim=64, embedding_dropout=0.5, variational=True)
    dropped = config.build(TEXT).embedding_dropout(torch.ones(2, 7, 64))
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))
    per_value = replace(config, variational=False).build(TEXT).embedding_dropout(torch.ones(2, 7, 64))
    assert not torch.equal(per_value, per_value[:, :1].expand_as(per_value))


def test_the_output_has_no_activation_and_no_dropout():
    network = RNNConfig(dropout=0.9, head_width=8).build(TEXT)
    assert list(network.children())[-1] is network.output
    assert type(network.output) is nn.Linear


@pytest.mark.parametrize(
    "config", [{}, {"depth": 2, "variational": True, "norm": "layer", "pooling": "attention"}]
)
def test_a_network_learns_an_order_that_a_bag_of_words_cannot_see(config):
    torch.manual_seed(0)
    info = replace(TEXT, num_outputs=2, max_length=6)
    tokens = torch.randint(4, 11, (64, 6))
    target = torch.arange(64) % 2
    tokens[target == 0, 1:3] = torch.tensor([2, 3])
    tokens[target == 1, 1:3] = torch.tensor([3, 2])
    inputs = {"tokens": tokens, "lengths": torch.full((64,), 6)}
    network = RNNConfig(width=16, embedding_dim=8, dropout=0.0, embedding_dropout=0.0, **config).build(info)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(100):
        optimizer.zero_grad()
        F.cross_entropy(network(inputs), target).backward()
        optimizer.step()
    assert (network(inputs).argmax(1) == target).all()


@pytest.mark.parametrize(
    ("info", "message"),
    [
        (TABLE, "the rnn family reads text or series data, got tabular: take mlp"),
        (replace(TEXT, vocabulary_size=1), "data: a vocabulary has at least `<pad>` and `<unk>`, got 1 words"),
        (replace(SERIES, num_features=0), "data: a series has at least one channel, got 0"),
    ],
)
def test_data_that_does_not_fit_the_network_is_refused(info, message):
    with pytest.raises(ConfigError, match=message):
        RNNConfig().build(info)


def test_the_vanilla_cell_takes_tanh_and_relu_alone():
    with pytest.raises(
        ConfigError, match="activation: the vanilla cell's activation must be tanh or relu, got 'gelu'"
    ):
        RNNConfig(cell="vanilla", activation="gelu")
    assert RNNConfig(cell="gru", activation="gelu", head_width=8).build(TEXT)


def test_norms_that_would_count_padded_steps_are_refused():
    with pytest.raises(ConfigError, match="norm: must be one of none, layer, rms, got 'batch'"):
        RNNConfig(norm="batch")
