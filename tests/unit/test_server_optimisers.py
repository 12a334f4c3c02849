"""FedProx, FedAvgM, FedAdam, FedYogi and FedAdagrad against values worked out in numpy (Reddi et al. 2020, alg. 2)."""

import numpy as np
import pytest
import scripted
import tiny
from flwr.serverapp.strategy import FedAdam

from fedbench.errors import FedbenchError
from fedbench.experiment import read_registry, validate
from fedbench.federation import strategies
from fedbench.spec import FederationSpec

SHAPES = ((4, 3), (5,))
INITIAL = scripted.normal(*SHAPES, seed=7)
UPDATE = scripted.drawn(*SHAPES, scale=0.01)
ROUNDS, CLIENTS = 3, 3


def federated(tmp_path, strategy, **options):
    federation = FederationSpec(rounds=ROUNDS, clients_per_round=CLIENTS, client_tier="local")
    run = tiny.run(strategy, options=options, federation=federation)
    return scripted.federate(run, UPDATE, INITIAL, tmp_path)[0].arrays


def deltas():
    """The sample-weighted mean update of each round, by name; client i holds i + 1 rows."""
    for number in range(1, ROUNDS + 1):
        changes = [UPDATE(client, number) for client in range(CLIENTS)]
        total = sum(range(1, CLIENTS + 1))
        yield {
            name: sum((k + 1) / total * change[name].astype(np.float64) for k, change in enumerate(changes))
            for name in INITIAL
        }


def reference(second_moment, eta, beta1, tau, correction=lambda t: 1.0, start=None):
    """w <- w + eta m / (sqrt(v) + tau), from m = 0 and v = tau^2 or `start`."""
    w = {name: value.astype(np.float64) for name, value in INITIAL.items()}
    m = {name: np.zeros_like(value) for name, value in w.items()}
    v = {name: np.full_like(value, tau**2 if start is None else start) for name, value in w.items()}
    for t, delta in enumerate(deltas(), start=1):
        for name in w:
            m[name] = beta1 * m[name] + (1 - beta1) * delta[name]
            v[name] = second_moment(v[name], delta[name] ** 2)
            w[name] = w[name] + eta * correction(t) * m[name] / (np.sqrt(v[name]) + tau)
    return w


def assert_close(ours, wanted, tolerance=2e-6):
    assert ours.keys() == wanted.keys()
    for name, value in ours.items():
        assert value.dtype == np.float32
        np.testing.assert_allclose(value, wanted[name], rtol=0, atol=tolerance)
        assert not np.allclose(value, INITIAL[name], atol=10 * tolerance), "the step is larger than the tolerance"


def adam(v, square):
    return 0.9 * v + 0.1 * square


def yogi(v, square):
    return v - 0.1 * square * np.sign(v - square)


def adagrad(v, square):
    return v + square


@pytest.mark.parametrize(
    ("name", "moment", "beta2"),
    [("fedadam", adam, {"beta2": 0.9}), ("fedyogi", yogi, {"beta2": 0.9}), ("fedadagrad", adagrad, {})],
)
@pytest.mark.parametrize("tau", [1e-3, 1e-1])
def test_server_optimiser_follows_its_formula(tmp_path, name, moment, beta2, tau):
    ours = federated(tmp_path, name, server_learning_rate=0.05, beta1=0.8, tau=tau, **beta2)
    assert_close(ours, reference(moment, 0.05, 0.8, tau))


def test_fedadam_with_bias_correction_is_flowers_step(tmp_path):
    ours = federated(tmp_path, "fedadam", server_learning_rate=0.05, beta1=0.8, beta2=0.9, bias_correction=True)
    assert_close(ours, reference(adam, 0.05, 0.8, 1e-3, lambda t: np.sqrt(1 - 0.9 ** (t + 1)) / (1 - 0.8 ** (t + 1))))


@pytest.mark.parametrize(("name", "moment"), [("fedyogi", yogi), ("fedadagrad", adagrad)])
def test_the_second_moment_may_start_at_zero_as_flowers_does(tmp_path, name, moment):
    beta2 = {"beta2": 0.9} if name == "fedyogi" else {}
    ours = federated(tmp_path, name, server_learning_rate=0.05, beta1=0.8, from_zero=True, **beta2)
    assert_close(ours, reference(moment, 0.05, 0.8, 1e-3, start=0.0))


def test_a_declared_strategy_has_flowers_own_defaults(tmp_path):
    declared = read_registry(tiny.CONFIG).strategies["fedadam-flower"].options
    flower, options = FedAdam(), strategies.options("fedadam").model_validate(declared)
    ours = (options.server_learning_rate, options.beta1, options.beta2, options.tau)
    assert ours == (flower.eta, flower.beta_1, flower.beta_2, flower.tau)

    def correction(t):
        return np.sqrt(1 - flower.beta_2 ** (t + 1)) / (1 - flower.beta_1 ** (t + 1))

    def moment(v, square):
        return flower.beta_2 * v + (1 - flower.beta_2) * square

    wanted = reference(moment, flower.eta, flower.beta_1, flower.tau, correction, start=0.0)
    assert_close(federated(tmp_path, "fedadam", **declared), wanted)


def test_fedavgm_adds_up_the_momentum(tmp_path):
    w = {name: value.astype(np.float64) for name, value in INITIAL.items()}
    step = {name: np.zeros_like(value) for name, value in w.items()}
    for delta in deltas():
        step = {name: 0.9 * step[name] + delta[name] for name in w}
        w = {name: w[name] + 0.5 * step[name] for name in w}
    assert_close(federated(tmp_path, "fedavgm", server_learning_rate=0.5, momentum=0.9), w)


@pytest.mark.parametrize(
    ("name", "options"),
    [("fedavgm", {"momentum": 0.0, "server_learning_rate": 1.0}), ("fedprox", {"mu": 0.0})],
)
def test_without_momentum_or_proximal_term_it_is_fedavg(tmp_path, name, options):
    ours, fedavg = federated(tmp_path, name, **options), federated(tmp_path, "fedavg")
    for parameter in INITIAL:
        np.testing.assert_array_equal(ours[parameter], fedavg[parameter])


def test_fedprox_tells_every_client_its_mu(tmp_path):
    seen = []

    def spy(message, context, call_next):
        seen.append(float(message.content["config"]["proximal-mu"]))
        return call_next(message, context)

    run = tiny.run("fedprox", options={"mu": 0.3})
    scripted.federate(run, UPDATE, INITIAL, tmp_path, [spy])
    assert seen == [0.3] * (run.federation.rounds * run.clients)


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        ("fedprox", {"mu": -1}),
        ("fedavgm", {"momentum": 1.0}),
        ("fedavgm", {"server_learning_rate": 0}),
        ("fedadam", {"beta1": 1.0}),
        ("fedyogi", {"tau": 0}),
        ("fedadagrad", {"beta2": 0.9}),
    ],
)
def test_options_outside_their_range_are_refused(kind, bad):
    with pytest.raises(FedbenchError, match=next(iter(bad))):
        validate(strategies.options(kind), bad, "config/strategies.yaml")


@pytest.mark.parametrize("kind", ["fedadam", "fedyogi", "fedadagrad"])
def test_the_default_server_rate_is_a_thousandth(kind):
    assert strategies.options(kind)().server_learning_rate == 1e-3
