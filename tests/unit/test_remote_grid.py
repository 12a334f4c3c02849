"""Clients behind messages: wherever they live, the weights and the bytes are those of one process."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import tiny
from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity
from safetensors.numpy import load_file

from fedbench import running
from fedbench.errors import FedbenchError
from fedbench.federation import job
from fedbench.federation.client import Resident
from fedbench.federation.grid import FIRST_NODE
from fedbench.federation.remote import RemoteGrid, node_app
from fedbench.models.loading import load
from fedbench.spec import CompressionSpec, FederationSpec, PrivacySpec, RunSpec, TrainingSpec
from fedbench.training.examples import Examples
from fedbench.training.loop import Trainer

FEDERATION = FederationSpec(rounds=3, clients_per_round=2, client_tier="local")


class Wire(Grid):
    """A carrier whose nodes answer as soon as they are asked; replies come back in another order."""

    run, set_run, create_message, send_and_receive = None, None, None, None

    def __init__(self, apps: dict[int, ClientApp]) -> None:
        self.apps, self.replies = apps, {}
        self.contexts = {node: Context(77, node, {}, RecordDict(), {}) for node in apps}

    def get_node_ids(self) -> Iterable[int]:
        return list(self.apps)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        for message in messages:
            assert message.metadata.run_id == 77
            message.metadata.__dict__["_message_id"] = f"m{len(self.replies)}-{message.metadata.dst_node_id}"
            node = message.metadata.dst_node_id
            reply = self.apps[node](message_from_proto(message_to_proto(message)), self.contexts[node])
            reply.metadata.__dict__["_message_id"] = "r"
            self.replies[message.metadata.message_id] = message_from_proto(message_to_proto(reply))
        return list(self.replies)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        last = sorted(message_ids)[-1:]  # one at a time, as if the others took longer
        return [self.replies.pop(name) for name in last]


def wired(apps: dict[int, ClientApp], held: dict[int, list[int]], **options: bool) -> RemoteGrid:
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 77, SUPERLINK_NODE_ID, 5
    return RemoteGrid(Wire(apps), held, poll=0.0, **options)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("remote")
    tiny.snapshot(folder)
    return folder


def execute(place: Path, spec: RunSpec, name: str, held: dict[int, list[int]] | None = None, carries: bool = False):
    """Run in this process or, where `held` says what each node holds, behind messages."""
    dataset, clients = tiny.data(place)
    snapshot = tiny.snapshot(place)

    def grid(resident):
        apps = {}
        for node, own in held.items():
            folder = place / f"{name}-{node}"
            job.write(folder, spec, resident, snapshot, range(spec.clients) if carries else own)
            apps[node] = node_app(lambda context, path=str(folder): job.client(path))
        return wired(apps, held, carries_state=carries)

    out = place / name
    running.execute(spec, dataset, clients, snapshot, out, place / "checkpoints", grid if held else None)
    return json.loads((out / "manifest.json").read_text()), load_file(out / "adapter.safetensors")


def compared(place: Path, left: str, right: str) -> None:
    first, second = (load_file(place / name / "adapter.safetensors") for name in (left, right))
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)
    timed = ("seconds", "virtual_seconds", "metrics")
    histories = [pl.read_parquet(place / name / "history.parquet").drop(timed) for name in (left, right)]
    assert histories[0].equals(histories[1])


@pytest.mark.parametrize(
    ("strategy", "options"), [("fedavg", None), ("edge-fit", None), ("fedadam", None), ("gsfs", {"local_steps": 2})]
)
def test_nodes_that_keep_their_clients_state_give_the_weights_and_bytes_of_one_process(place, strategy, options):
    spec = tiny.run(strategy, options=options, federation=FEDERATION)
    execute(place, spec, f"here-{strategy}")
    execute(place, spec, f"there-{strategy}", {900: [0, 2], 17: [1]})
    compared(place, f"here-{strategy}", f"there-{strategy}")


def test_state_that_travels_leaves_every_client_its_own_model_and_predictions(place):
    spec = tiny.run("gsfs", options={"local_steps": 2}, federation=FEDERATION)
    execute(place, spec, "here")
    execute(place, spec, "travels", {31: [0], 8: [1], 99: [2]}, carries=True)
    compared(place, "here", "travels")
    rows = [pl.read_parquet(place / name / "predictions.parquet") for name in ("here", "travels")]
    assert rows[0].equals(rows[1])
    assert set(rows[1].filter(pl.col("scope") == "client")["client"]) == {0, 1, 2}


def test_what_clients_do_to_their_updates_they_do_wherever_they_are(place):
    """Balanced classes, top-k uploads with error feedback, and noise on the client, all at once."""
    spec = tiny.run(federation=FEDERATION)
    strategy = {
        "compression": CompressionSpec(kind="topk", keep=0.5),
        "privacy": PrivacySpec(side="client", noise_multiplier=0.1),
    }
    spec = spec.model_copy(
        update={
            "strategy": spec.strategy.model_copy(update=strategy),
            "training": spec.training.model_copy(update={"class_weights": "balanced"}),
        }
    )
    execute(place, spec, "mods-here")
    execute(place, spec, "mods-there", {1: [0], 2: [1, 2]})
    compared(place, "mods-here", "mods-there")


def test_what_a_teacher_says_of_a_row_travels_with_it(place):
    spec = tiny.run(clients=2)
    loaded = load(tiny.snapshot(place), "classify", spec.training, ["a", "b"], 0)
    taught = np.random.default_rng(0).standard_normal((3, 2)).astype(np.float32)
    own, none = Examples([[5, 6], [7], [8]], [0, 1, 1], taught=taught), Examples([[9]], [0])
    clients = Resident(Trainer(loaded, spec.training), [own, own.take([2, 0])], [none, none], 0)
    job.write(place / "taught", spec, clients, tiny.snapshot(place), [0, 1])
    rows = pl.read_parquet(place / "taught" / "rows.parquet")
    told = job.Job.model_validate_json((place / "taught" / "job.json").read_text())
    back = job.examples(rows, told, 1, "train")
    assert (back.inputs, back.targets) == ([[8], [5, 6]], [1, 0])
    np.testing.assert_array_equal(back.taught, taught[[2, 0]])
    assert job.examples(rows, told, 0, "validation") == none


def test_a_lost_reply_is_lost_everywhere(place):
    spec = tiny.run(federation=FederationSpec(rounds=3, clients_per_round=3, client_tier="local", dropout=0.4))
    execute(place, spec, "lossy-here")
    execute(place, spec, "lossy-there", {1: [0, 1], 2: [2]})
    compared(place, "lossy-here", "lossy-there")


def test_a_job_holds_no_row_of_a_client_that_is_elsewhere(place):
    execute(place, tiny.run(federation=FEDERATION), "apart", {5: [0, 2], 6: [1]})
    held = {node: set(pl.read_parquet(place / f"apart-{node}" / "rows.parquet")["client"]) for node in (5, 6)}
    assert held == {5: {0, 2}, 6: {1}}


def test_a_client_that_diverges_is_the_same_failed_row(place):
    spec = tiny.run(training=TrainingSpec(learning_rate=1e30, gradient_clip=0, batch_size=8, max_length=64))
    here, _ = execute(place, spec, "diverged-here")
    there, _ = execute(place, spec, "diverged-there", {1: [0, 1], 2: [2]})
    assert here["status"] == there["status"] == "failed"
    assert here["message"] == there["message"]
    assert "learning_rate" in there["message"]


def asked(grid: RemoteGrid) -> list[Message]:
    return [Message(RecordDict(), node, "train", group_id="1") for node in grid.get_node_ids()]


def test_an_error_of_flower_ends_the_run_and_names_its_reason():
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        return Message(Error(2, "out of cheese"), reply_to=message)

    grid = wired({40: app}, {40: [0]}, carries_state=False)
    with pytest.raises(FedbenchError, match="out of cheese"):
        grid.send_and_receive(asked(grid))


def test_a_mod_that_answers_with_an_error_does_so_across_the_wire():
    inner = ClientApp()

    @inner.train()
    def train(message: Message, context: Context) -> Message:
        return Message(Error(6, f"not today, {context.node_config['partition-id']}"), reply_to=message)

    grid = wired({40: node_app(lambda context: inner)}, {40: [0, 1]}, carries_state=True)
    replies = grid.send_and_receive(asked(grid))
    assert [reply.error.reason for reply in replies] == ["not today, 0", "not today, 1"]
    assert [reply.metadata.src_node_id for reply in replies] == [FIRST_NODE, FIRST_NODE + 1]


def test_a_carrier_that_has_ended_does_not_keep_the_server_waiting():
    class Silent(Wire):
        def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
            return []

    app = node_app(lambda context: ClientApp())
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 77, SUPERLINK_NODE_ID, 5
    wire = Silent({40: app})
    wire.push_messages = lambda messages: ["m"]
    grid = RemoteGrid(wire, {40: [0]}, carries_state=False, poll=0.0, stopped=lambda: "the carrier has ended")
    with pytest.raises(FedbenchError, match="has ended"):
        grid.send_and_receive(asked(grid))
