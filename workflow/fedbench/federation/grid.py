"""An in-process Flower grid: any Strategy and ClientApp, one process, deterministic, with exact bytes on the wire."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

FIRST_NODE = 1000  # any fixed offset above the server's own id: node = FIRST_NODE + client


@dataclass
class Exchange:
    """One message to a client and its reply: bytes as serialised by Flower, and what the client reported.

    Attributes:
        error: why the client answered with an error instead of content.
    """

    client: int
    bytes_down: int
    bytes_up: int
    metrics: dict[str, Any]
    trigger: str | None
    error: str | None = None


class InProcessGrid(Grid):  # type: ignore[misc]
    """Runs each message at once, in order, on the same resident model.

    Messages and replies pass through Flower's own serialisation, so that a client never shares memory with the server
    and the byte counts are those of the wire.
    """

    def __init__(self, app: ClientApp, clients: int, run_id: int = 1) -> None:
        self._app, self._run = app, Run.create_empty(run_id)
        # Flower 1.41 reads these when a Message is made and raises RuntimeError where they are unset.
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = run_id, SUPERLINK_NODE_ID, 1
        self.messages = 0  # sent so far; part of a checkpoint, since the number travels in the message
        self.contexts = {
            FIRST_NODE + client: Context(
                run_id=run_id,
                node_id=FIRST_NODE + client,
                node_config={"partition-id": client, "num-partitions": clients},
                state=RecordDict(),
                run_config={},
            )
            for client in range(clients)
        }
        self.exchanges: list[Exchange] = []

    def set_run(self, run: Run) -> None:
        """Set the run (Flower's interface)."""
        self._run = run

    @property
    def run(self) -> Run:
        """The run (Flower's interface)."""
        return self._run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Make a message (Flower's interface)."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """Return all clients' node ids, in order."""
        return list(self.contexts)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Run every message and return the replies in the same order."""
        return [self._exchange(message) for message in messages]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Not offered: a message that runs at once has no queue to wait in."""
        raise NotImplementedError("use send_and_receive on the in-process grid")

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Not offered; see `push_messages`."""
        raise NotImplementedError("use send_and_receive on the in-process grid")

    def _exchange(self, message: Message) -> Message:
        self.messages += 1
        message.metadata.__dict__["_message_id"] = f"m{self.messages}"
        sent = message_to_proto(message)
        received = message_from_proto(sent)
        context = self.contexts[message.metadata.dst_node_id]
        # A client that raises ends the run: Flower's own back ends would aggregate the others in silence. One that
        # answers with an error (a mod whose condition is not met) is counted as failed by the simulation.
        reply = self._app(received, context)
        reply.metadata.__dict__["_message_id"] = f"r{self.messages}"
        answered = message_to_proto(reply)
        reply = message_from_proto(answered)
        content = reply.content if reply.has_content() else RecordDict()
        self.exchanges.append(
            Exchange(
                client=message.metadata.dst_node_id - FIRST_NODE,
                bytes_down=sent.ByteSize(),
                bytes_up=answered.ByteSize(),
                metrics=dict(content.get("metrics", {})),
                trigger=str(content["notes"]["trigger"]) if "notes" in content else None,
                error=str(reply.error.reason) if reply.has_error() else None,
            )
        )
        return reply
