"""Secure aggregation: Flower's SecAgg+ around any strategy whose sampled clients all upload.

Flower 1.41 has the protocol for its older interface alone. Here the server's half, `SecAggPlusWorkflow`, runs over our
grid with a stand-in for the older strategy, and the clients' half, `secaggplus_mod`, is put around the usual client;
the strategy sees one reply that holds the weighted mean. Keys and masks come from the operating system and differ from
run to run; they cancel exactly, so the mean does not.
"""

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.client.mod import secaggplus_mod
from flwr.common import Code, FitIns, FitRes, Parameters, Status, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.common.constant import ErrorCode
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS, RECORD_KEY_STATE, Key, Stage
from flwr.compat.common import recorddict_compat as compat
from flwr.server.compat.legacy_context import LegacyContext
from flwr.server.workflow import SecAggPlusWorkflow
from flwr.server.workflow.constant import MAIN_CONFIGS_RECORD, MAIN_PARAMS_RECORD
from flwr.server.workflow.constant import Key as WorkflowKey

from fedbench.errors import FedbenchError
from fedbench.federation.arrays import to_numpy, to_record
from fedbench.federation.grid import FIRST_NODE, InProcessGrid
from fedbench.spec import SecureSpec

ROUNDING = 6  # a stream of randomness of its own under the run's seed
NOTHING = Parameters([], "")


def mods(spec: SecureSpec | None, seed: int) -> list[Callable[..., Any]]:
    """Return the client side: the protocol, and inside it what turns our replies into those it knows."""
    return [] if spec is None else [protocol, _old_style(spec, seed)]


def protocol(message: Message, context: Context, call_next: Callable[[Message, Context], Message]) -> Message:
    """Client mod: Flower's, which forgets its keys once a round is over."""
    stage = message.content[RECORD_KEY_CONFIGS][Key.STAGE]
    reply: Message = secaggplus_mod(message, context, call_next)
    if stage == Stage.UNMASK:
        del context.state[RECORD_KEY_STATE]
    return reply


def _old_style(spec: SecureSpec, seed: int) -> Callable[..., Message]:
    def mod(message: Message, context: Context, call_next: Callable[[Message, Context], Message]) -> Message:
        reply = call_next(message, context)
        if not reply.has_content():
            return reply
        arrays, metrics = to_numpy(reply.content["arrays"]), reply.content["metrics"]
        examples = int(metrics["num-examples"])
        if examples > spec.max_examples:
            raise FedbenchError(
                f"a client holds {examples} training rows, secure aggregation expects {spec.max_examples} at most",
                remedy="Raise secure.max_examples in config/strategies.yaml.",
            )
        # The protocol rounds at random, with the global generator.
        number, client = int(message.content["config"]["server-round"]), int(context.node_config["partition-id"])
        np.random.seed(np.random.SeedSequence([seed, ROUNDING, number, client]).generate_state(1))
        parameters = ndarrays_to_parameters([arrays[name] for name in sorted(arrays)])
        kept = {name: record for name, record in reply.content.items() if name != "arrays"}
        old = compat.fitres_to_recorddict(FitRes(Status(Code.OK, ""), parameters, examples, {}), keep_input=False)
        return Message(RecordDict({**kept, **old}), reply_to=message)

    return mod


class Collector:
    """Sends the messages of a round through the protocol; the replies come back as one, their weighted mean.

    Args:
        lost: (round, client) -> whether its masked update never arrives, which the others' shares make up for.
    """

    def __init__(self, spec: SecureSpec, grid: InProcessGrid, lost: Callable[[int, int], bool]) -> None:
        self._spec, self._grid, self._lost = spec, grid, lost

    def __call__(self, messages: Iterable[Message]) -> list[Message]:
        """Return one reply, or none where too few clients were left to take the masks off."""
        # A record of its own a client: strategies send one to all, and the workflow adds to it.
        wanted = {message.metadata.dst_node_id: RecordDict({**message.content}) for message in messages}
        first = next(iter(wanted.values()))
        names, number = sorted(first["arrays"]), int(first["config"]["server-round"])
        lossy = _Lossy(self._grid, lambda client: self._lost(number, client))
        found: list[list[np.ndarray]] = []
        _workflow(self._spec, wanted)(lossy, _context(number, list(wanted), found))
        if not found or lossy.reply is None:
            return []
        arrays = to_record(dict(zip(names, found[0], strict=True)))
        lossy.reply.content = RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": 1})})
        return [lossy.reply]


class _Lossy:
    """The grid, with masked updates that get lost.

    Attributes:
        reply: one that arrived with a masked update.
    """

    def __init__(self, grid: InProcessGrid, lost: Callable[[int], bool]) -> None:
        self._grid, self._lost = grid, lost
        self.reply: Message | None = None

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        sent = list(messages)
        masked = bool(sent) and sent[0].content[RECORD_KEY_CONFIGS][Key.STAGE] == Stage.COLLECT_MASKED_VECTORS
        replies = []
        for message, reply in zip(sent, self._grid.send_and_receive(sent, timeout=timeout), strict=True):
            if masked and self._lost(message.metadata.dst_node_id - FIRST_NODE):
                reply = Message(Error(ErrorCode.REPLY_MESSAGE_UNAVAILABLE, "lost"), reply_to=message)
            elif masked and reply.has_content():
                self.reply = reply
            replies.append(reply)
        return replies


def _workflow(spec: SecureSpec, wanted: dict[int, RecordDict]) -> SecAggPlusWorkflow:
    """Return the server's half; what it sends to be trained on is `wanted`, node -> content."""

    class Workflow(SecAggPlusWorkflow):  # type: ignore[misc]
        def setup_stage(self, grid: Any, context: LegacyContext, state: Any) -> bool:
            going = super().setup_stage(grid, context, state)
            state.nid_to_fitins = dict(wanted)
            return bool(going)

    return Workflow(
        1.0,
        spec.threshold,
        max_weight=float(spec.max_examples),
        clipping_range=spec.range,
        quantization_range=spec.levels,
    )


def _context(number: int, nodes: list[int], found: list[list[np.ndarray]]) -> LegacyContext:
    """Return what the workflow reads, with a strategy that samples `nodes` and puts the mean into `found`."""

    def aggregate(_: int, results: list[tuple[Any, FitRes]], __: list[Any]) -> tuple[None, dict[str, Any]]:
        if results:
            found.append(parameters_to_ndarrays(results[0][1].parameters))
        return None, {}

    strategy = SimpleNamespace(
        configure_fit=lambda *_: [(SimpleNamespace(node_id=node), FitIns(NOTHING, {})) for node in nodes],
        aggregate_fit=aggregate,
    )
    state = RecordDict(
        {
            MAIN_CONFIGS_RECORD: ConfigRecord({WorkflowKey.CURRENT_ROUND: number}),
            MAIN_PARAMS_RECORD: ArrayRecord(),
        }
    )
    plain = Context(run_id=1, node_id=1, node_config={}, state=state, run_config={})
    return LegacyContext(plain, strategy=strategy, client_manager=SimpleNamespace(num_available=lambda: len(nodes)))
