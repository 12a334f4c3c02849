"""Clients in other processes: one Flower message a node and round, whatever carries it, and the same weights.

The server side is the in-process grid, except that the clients' work was done elsewhere: cohorts, order of
aggregation, byte counts and history are made by the same code from the same numbers.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from flwr.app import ConfigRecord, Context, Error, Message, Metadata, RecordDict
from flwr.app.message import make_message
from flwr.clientapp import ClientApp
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

from fedbench.errors import FedbenchError
from fedbench.federation.grid import FIRST_NODE, InProcessGrid

INNER_RUN = 1  # the run id inside an envelope: that of the in-process grid, so that messages have the same bytes


@dataclass
class _Answer:
    """What a client answered, and its state where that travels."""

    content: RecordDict | Error
    state: RecordDict | None


class RemoteGrid(InProcessGrid):
    """Sends each node of `carrier` the messages of all its clients at once.

    Args:
        carrier: Flower's own grid of a running ServerApp.
        nodes: node id -> the clients that it holds; together clients 0 to N - 1.
        carries_state: clients' state travels with the messages and stays here in between, so that any node can run any
            client and a checkpoint holds everything; otherwise it stays on the node.
        poll: seconds between two looks for replies.
        stopped: says why nothing will answer any more, or "".
    """

    def __init__(
        self,
        carrier: Grid,
        nodes: Mapping[int, Sequence[int]],
        *,
        carries_state: bool,
        poll: float,
        stopped: Callable[[], str] = str,
    ) -> None:
        self._carrier, self._carries_state, self._poll, self._stopped = carrier, carries_state, poll, stopped
        # The base class gives this process the identity of its own run; envelopes travel under the real one.
        self._identity = TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id
        self._node = {client: node for node, held in nodes.items() for client in held}
        self._answers: dict[int, _Answer] = {}
        super().__init__(self._answer, len(self._node), INNER_RUN)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Have every message answered and return the replies in the order of the messages."""
        sent = list(messages)
        self._answers = self._remote(sent)
        return super().send_and_receive(sent, timeout=timeout)

    def _answer(self, message: Message, context: Context) -> Message:
        """Answer as the client has; called by the base class, which counts and records."""
        answer = self._answers.pop(context.node_id - FIRST_NODE)
        if answer.state is not None:
            context.state = answer.state
        return Message(answer.content, reply_to=message)

    def _remote(self, messages: list[Message]) -> dict[int, _Answer]:
        by_node: dict[int, dict[int, Message]] = {}
        for message in messages:
            client = message.metadata.dst_node_id - FIRST_NODE
            by_node.setdefault(self._node[client], {})[client] = message
        envelopes = [self._envelope(node, own) for node, own in by_node.items()]
        waiting = set(self._carrier.push_messages(envelopes))
        if None in waiting or len(waiting) < len(envelopes):
            raise FedbenchError("Flower did not take a message", where="grid", remedy="See the server's log.")
        answers: dict[int, _Answer] = {}
        while waiting:
            if reason := self._stopped():
                raise FedbenchError(reason)
            for reply in self._carrier.pull_messages(set(waiting)):
                waiting.discard(reply.metadata.reply_to_message_id)
                answers |= _opened(reply)
            if waiting:
                time.sleep(self._poll)
        return answers

    def _envelope(self, node: int, messages: dict[int, Message]) -> Message:
        run, source, task = self._identity
        first = next(iter(messages.values())).metadata
        content = RecordDict(
            {
                "envelope": ConfigRecord(
                    {"clients": list(messages), "of": len(self._node), "carries-state": self._carries_state}
                )
            }
        )
        for client, message in messages.items():
            _put(content, "content", client, message.content)
            if self._carries_state:
                _put(content, "state", client, self.contexts[FIRST_NODE + client].state)
        return make_message(_metadata(run, source, node, task, first.group_id, first.ttl), content)


def node_app(load: Callable[[Context], ClientApp]) -> ClientApp:
    """Return the ClientApp of a node, which opens an envelope and runs `load(context)` for each client in it.

    A fault that the user can mend comes back as what it says; any other exception is Flower's to report.
    """
    app = ClientApp()

    @app.train()  # type: ignore[untyped-decorator]
    def train(message: Message, context: Context) -> Message:
        try:
            content = _served(message, context, load(context))
        except FedbenchError as fault:
            told = {"what": fault.what, "where": str(fault.where or ""), "remedy": fault.remedy or ""}
            content = RecordDict({"fault": ConfigRecord(told)})
        return Message(content, reply_to=message)

    return app


def _served(message: Message, context: Context, app: ClientApp) -> RecordDict:
    envelope = message.content["envelope"]
    carried, clients = bool(envelope["carries-state"]), [int(client) for client in envelope["clients"]]
    result, states = RecordDict(), RecordDict()
    for client in clients:
        node = FIRST_NODE + client
        own = Context(
            run_id=INNER_RUN,
            node_id=node,
            node_config={"partition-id": client, "num-partitions": int(envelope["of"])},
            state=_get(message.content if carried else context.state, "state", client),
            run_config={},
        )
        metadata = _metadata(INNER_RUN, SUPERLINK_NODE_ID, node, 1, message.metadata.group_id, message.metadata.ttl)
        reply = app(make_message(metadata, _get(message.content, "content", client)), own)
        if reply.has_error():  # a mod whose condition is not met; an exception does not get here
            told = {"code": reply.error.code, "reason": reply.error.reason or ""}
            _put(result, "error", client, RecordDict({"told": ConfigRecord(told)}))
        else:
            _put(result, "content", client, reply.content)
        _put(states, "state", client, own.state)
    if carried:
        return RecordDict({**result, **states})
    kept = {key: record for key, record in context.state.items() if int(key.split("/")[1]) not in clients}
    context.state = RecordDict({**kept, **states})
    return result


def _opened(reply: Message) -> dict[int, _Answer]:
    """Return client -> answer of an envelope that came back.

    Raises:
        FedbenchError: a client raised. Flower's own strategies would aggregate the others in silence.
    """
    if reply.has_error():
        raise FedbenchError(f"a client failed: {reply.error.reason}", where=f"node {reply.metadata.src_node_id}")
    content = reply.content
    if "fault" in content:
        told = {key: str(value) for key, value in content["fault"].items()}
        raise FedbenchError(told["what"], where=told["where"] or None, remedy=told["remedy"] or None)
    carried = any(key.startswith("state/") for key in content)
    answers = {}
    for client in {int(key.split("/")[1]) for key in content}:
        part: RecordDict | Error = _get(content, "content", client)
        if told := _get(content, "error", client):
            part = Error(int(told["told"]["code"]), str(told["told"]["reason"]))
        answers[client] = _Answer(part, _get(content, "state", client) if carried else None)
    return answers


def _metadata(run: int, source: int, node: int, task: int, group: str, ttl: float) -> Metadata:
    return Metadata(
        run_id=run,
        message_id="",
        src_node_id=source,
        dst_node_id=node,
        reply_to_message_id="",
        group_id=group,
        created_at=time.time(),
        ttl=ttl,
        message_type="train",
        src_task_id=task,
    )


def _put(target: RecordDict, part: str, client: int, records: RecordDict) -> None:
    for name, record in records.items():
        target[f"{part}/{client}/{name}"] = record


def _get(source: RecordDict, part: str, client: int) -> RecordDict:
    prefix = f"{part}/{client}/"
    return RecordDict({key.removeprefix(prefix): value for key, value in source.items() if key.startswith(prefix)})
