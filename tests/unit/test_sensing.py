"""The GSFS triggers against values worked out by hand (eqs. 7-11), and the server's pool."""

import math

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from fedbench.experiment import validate
from fedbench.federation.sensing import Memory, Sensing, decide
from fedbench.federation.strategies import Population, gsfs
from fedbench.models.architectures import block_of
from fedbench.spec import FederationSpec


def test_gradient_fires_above_mean_plus_lambda_deviations():
    memory, sensing = Memory(), Sensing(performance=False, warm_up=0, max_silence=0, beta=0.5, gradient_lambda=1.0)
    assert decide(memory, math.nan, {"layer.0": 1.0}, sensing) == ("", [])  # threshold is the first norm itself
    assert memory.blocks == {"layer.0": [1.0, 0.0]}
    assert decide(memory, math.nan, {"layer.0": 3.0}, sensing) == ("gradient", ["layer.0"])
    # mu = .5 * 1 + .5 * 3 = 2; s2 = .5 * 0 + .5 * (3 - 2)^2 = .5
    assert memory.blocks == {"layer.0": [2.0, 0.5]}
    assert decide(memory, math.nan, {"layer.0": 2.7}, sensing) == ("", [])  # 2 + sqrt(.5) = 2.707
    assert memory.silence == 1


def test_gradient_is_silent_during_warm_up():
    memory, sensing = Memory(), Sensing(performance=False, warm_up=2, max_silence=0)
    for norm in (1.0, 100.0):
        assert decide(memory, math.nan, {"a": norm}, sensing) == ("", [])
    assert decide(memory, math.nan, {"a": 1e4}, sensing) == ("gradient", ["a"])


def test_performance_fires_on_a_change_beyond_the_adaptive_threshold():
    memory, sensing = Memory(), Sensing(gradient=False, max_silence=0, performance_floor=0.05)
    assert decide(memory, 1.00, {}, sensing)[0] == ""  # the first measurement is the reference
    assert decide(memory, 0.96, {}, sensing)[0] == ""  # moved .04 < floor .05
    # changes so far .04 and .16: mean .10; |.80 - 1.00| = .20 > .10
    assert decide(memory, 0.80, {}, sensing)[0] == "performance"
    assert memory.reference == 0.80
    assert memory.change == pytest.approx(0.10)


def test_silence_forces_an_upload_after_the_given_ticks():
    memory, sensing = Memory(), Sensing(performance=False, gradient=False, max_silence=3)
    assert [decide(memory, math.nan, {}, sensing)[0] for _ in range(6)] == ["", "", "silence", "", "", "silence"]


def test_client_without_validation_rows_does_not_fire_on_performance():
    assert decide(Memory(), math.nan, {}, Sensing(gradient=False, max_silence=0))[0] == ""


def test_blocks_are_transformer_layers_and_the_rest_is_the_head():
    assert block_of("base_model.model.bert.encoder.layer.3.attention.self.query.lora_A.default.weight") == "layer.3"
    assert block_of("base_model.model.classifier.modules_to_save.default.weight") == "head"


class FakeGrid:
    def __init__(self, clients: int) -> None:
        self.nodes = list(range(clients))

    def get_node_ids(self):
        return self.nodes


def reply(client: int, value: float, examples: int = 1, uploaded: int = 1) -> Message:
    arrays = ArrayRecord({"w": Array(np.array([value], dtype=np.float32))}) if uploaded else ArrayRecord()
    content = RecordDict({"arrays": arrays, "metrics": MetricRecord({"uploaded": uploaded, "num-examples": examples})})
    message = Message(content, dst_node_id=1, message_type="train")
    message.metadata.__dict__["_src_node_id"] = client
    return message


@pytest.fixture
def pool():
    from flwr.supercore.task_identity import TaskIdentity

    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1

    def make(**options):
        spec = FederationSpec(rounds=1, clients_per_round=5)
        strategy = gsfs.build(gsfs.Options(**options), spec, Population(5, [4] * 5))
        strategy.configure_train(1, ArrayRecord({"w": Array(np.zeros(1, np.float32))}), ConfigRecord(), FakeGrid(5))
        return strategy

    return make


def test_quorum_counts_distinct_clients(pool):
    strategy = pool(quorum=0.6)
    assert strategy.quorum() == 3
    assert strategy.aggregate_train(1, [reply(0, 1), reply(1, 1)])[0] is None
    assert strategy.aggregate_train(2, [reply(1, 1), reply(2, 1, uploaded=0)])[0] is None, "client 1 counts once"
    arrays, _ = strategy.aggregate_train(3, [reply(2, 4)])
    assert arrays is not None
    assert not strategy.pool


def test_frequency_weights_are_the_uploads_so_far(pool):
    strategy = pool(quorum=0.6)
    strategy.aggregate_train(1, [reply(0, 9)])
    strategy.aggregate_train(2, [reply(0, 2)])  # the newest entry counts; client 0 has uploaded twice
    arrays, _ = strategy.aggregate_train(3, [reply(1, 1), reply(2, 1)])
    assert arrays["w"].numpy()[0] == pytest.approx((2 * 2 + 1 + 1) / 4)


def test_sample_weights_are_the_clients_rows(pool):
    strategy = pool(quorum=0.6, weights="samples")
    arrays, _ = strategy.aggregate_train(1, [reply(0, 1, 10), reply(1, 2, 10), reply(2, 4, 20)])
    assert arrays["w"].numpy()[0] == pytest.approx((10 + 20 + 80) / 40)


def test_uniform_weights_count_every_client_once(pool):
    strategy = pool(quorum=0.6, weights="uniform")
    arrays, _ = strategy.aggregate_train(1, [reply(0, 1, 10), reply(1, 2, 10), reply(2, 6, 20)])
    assert arrays["w"].numpy()[0] == pytest.approx(3)


def test_staleness_discounts_an_update_by_the_ticks_it_waited(pool):
    strategy = pool(quorum=0.4, weights="uniform", staleness=1.0)
    strategy.aggregate_train(1, [reply(0, 9)])
    arrays, _ = strategy.aggregate_train(3, [reply(1, 3)])  # client 0 waited two ticks: a third of the weight
    assert arrays["w"].numpy()[0] == pytest.approx((9 / 3 + 3) / (1 / 3 + 1))


def test_staleness_is_off_by_default(pool):
    strategy = pool(quorum=0.4, weights="uniform")
    strategy.aggregate_train(1, [reply(0, 9)])
    arrays, _ = strategy.aggregate_train(30, [reply(1, 3)])
    assert arrays["w"].numpy()[0] == pytest.approx(6)


@pytest.mark.parametrize("quorum", [0, -0.5, 1.01])
def test_quorum_outside_its_range_is_refused(quorum):
    with pytest.raises(Exception, match="quorum"):
        validate(gsfs.Options, {"quorum": quorum}, "config/strategies.yaml: gsfs.options")


def test_ticks_give_a_mean_client_the_work_of_the_rounds():
    population = Population(2, [10, 20])
    spec = FederationSpec(rounds=4, clients_per_round=2)
    assert gsfs.ticks(gsfs.Options(local_steps=5), spec, population) == 12
    assert gsfs.ticks(gsfs.Options(local_steps=None), spec, population) == 4
