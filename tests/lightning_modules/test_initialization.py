import pytest
import torch
from torch import nn

from lightning_modules.blocks.activations import ACTIVATIONS
from lightning_modules.blocks.initialization import INITS, auto_init, initialize
from lightning_modules.errors import ConfigError

VARIANCES = {"xavier": lambda i, o: 2 / (i + o), "he": lambda i, o: 2 / i, "lecun": lambda i, o: 1 / i}


def _initialized(layer: nn.Module, init: str) -> nn.Module:
    torch.manual_seed(0)
    initialize(layer, init=init, activation="relu")
    return layer


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize(
    ("layer", "fan_in", "fan_out"),
    [
        (nn.Linear(300, 500), 300, 500),
        (nn.Conv2d(60, 80, 5), 60 * 25, 80 * 25),
        (nn.Conv1d(120, 200, 5), 120 * 5, 200 * 5),
        (nn.Conv2d(3000, 3000, 5, groups=3000), 25, 25),
    ],
)
def test_weights_have_the_stated_variance_and_biases_are_zero(init, layer, fan_in, fan_out):
    weight = _initialized(layer, init).weight.detach()
    variance = VARIANCES[init.split("_")[0]](fan_in, fan_out)
    assert weight.var().item() == pytest.approx(variance, rel=0.03)
    assert abs(weight.mean().item()) < 0.03 * variance**0.5
    assert not layer.bias.any()
    if init.endswith("uniform"):
        assert weight.abs().max().item() <= (3 * variance) ** 0.5
    else:
        assert weight.abs().max().item() > 3 * variance**0.5


def test_auto_chooses_by_activation():
    chosen = {name: auto_init(name).split("_")[0] for name in ACTIVATIONS}
    assert {n for n, i in chosen.items() if i == "xavier"} == {"tanh", "sigmoid", "softmax"}
    assert {n for n, i in chosen.items() if i == "lecun"} == {"selu"}
    assert chosen["relu"] == chosen["gelu"] == chosen["silu"] == chosen["mish"] == "he"


def test_auto_draws_the_output_layer_by_xavier_and_hidden_ones_by_the_activation():
    network = nn.Sequential(nn.Linear(400, 400), nn.ReLU(), nn.Linear(400, 100))
    torch.manual_seed(0)
    initialize(network, init="auto", activation="relu", output=network[2])
    assert network[0].weight.var().item() == pytest.approx(2 / 400, rel=0.03)
    assert network[2].weight.var().item() == pytest.approx(2 / 500, rel=0.03)


def test_the_same_seed_draws_the_same_weights():
    first, second = _initialized(nn.Linear(5, 5), "he_normal"), _initialized(nn.Linear(5, 5), "he_normal")
    assert torch.equal(first.weight, second.weight)


@pytest.mark.parametrize(("cell", "gates"), [(nn.RNN, 1), (nn.GRU, 3), (nn.LSTM, 4)])
def test_recurrent_matrices_are_orthogonal_and_input_matrices_scaled_gate_by_gate(cell, gates):
    layer = _initialized(cell(40, 50, bidirectional=True), "auto")
    for name in ("weight_hh_l0", "weight_hh_l0_reverse"):
        for gate in getattr(layer, name).chunk(gates):
            torch.testing.assert_close(gate @ gate.T, torch.eye(50), atol=1e-5, rtol=0)
    assert layer.weight_ih_l0.var().item() == pytest.approx(2 / 90, rel=0.1)


def test_the_forget_gate_of_an_lstm_starts_open():
    layer = _initialized(nn.LSTM(3, 4), "auto")
    bias = layer.bias_ih_l0 + layer.bias_hh_l0
    assert bias.tolist() == [0.0] * 4 + [1.0] * 4 + [0.0] * 8


def test_the_padding_row_of_an_embedding_stays_zero():
    embedding = _initialized(nn.Embedding(200, 64, padding_idx=0), "auto")
    assert not embedding.weight[0].any()
    assert embedding.weight[1:].std().item() == pytest.approx(1 / 8, rel=0.03)


def test_norms_and_slopes_keep_their_starting_values():
    network = _initialized(nn.Sequential(nn.BatchNorm1d(4), nn.PReLU()), "he_normal")
    assert network[0].weight.tolist() == [1.0] * 4
    assert network[1].weight.item() == 0.25


def test_an_unknown_initialization_is_refused():
    with pytest.raises(ConfigError, match="did you mean 'he_normal'"):
        initialize(nn.Linear(2, 2), init="he_norml", activation="relu")
