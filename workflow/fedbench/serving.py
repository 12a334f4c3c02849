"""The ServerApp of a deployed run: executes the run inside Flower's own process, on the nodes that it is told."""

import logging
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedbench.errors import FedbenchError
from fedbench.files import read_json, write_json
from fedbench.spec import RunSpec, Spec

if TYPE_CHECKING:
    from fedbench.federation.client import Resident
    from fedbench.federation.grid import InProcessGrid

LOG = logging.getLogger(__name__)

POLL = 0.2  # seconds between two looks for replies; Flower's own grid takes 3
ARRIVE = 120.0  # seconds in which every SuperNode must have connected


class Order(Spec):
    """What the ServerApp is told, in a file of the deployment's private folder.

    Attributes:
        nodes: Flower's id of each SuperNode, in order, and the folder that it reads its job from.
        progress: a file that tells the process outside how far the run is, or why it ended.
    """

    run: RunSpec
    dataset: str
    clients: str
    snapshot: str
    out: str
    checkpoints: str
    progress: str
    nodes: dict[int, str]


def placement(clients: int, nodes: int) -> list[list[int]]:
    """Return which clients each node holds: client c is on node c mod N.

    Raises:
        FedbenchError: there are more nodes than clients.
    """
    if not 1 <= nodes <= clients:
        raise FedbenchError(f"{nodes} nodes for {clients} clients", remedy=f"Use 1 to {clients} nodes (--nodes).")
    return [list(range(node, clients, nodes)) for node in range(nodes)]


server = ServerApp()


@server.main()  # type: ignore[untyped-decorator]
def main(grid: Grid, context: Context) -> None:
    """Execute the run that the file `job` of the run's configuration describes."""
    order = Order(**read_json(str(context.run_config["job"])))
    log = Path(order.out) / "logs" / "serverapp.log"
    logging.basicConfig(filename=log, level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    from fedbench import running  # torch

    try:
        running.execute(
            order.run,
            Path(order.dataset),
            Path(order.clients),
            Path(order.snapshot),
            Path(order.out),
            Path(order.checkpoints),
            grid=lambda resident: deployed_grid(grid, order, resident),
        )
    except BaseException as error:
        LOG.exception("the ServerApp failed")
        write_json(order.progress, {"error": f"{type(error).__name__}: {error}"})
        raise


def deployed_grid(grid: Grid, order: Order, resident: "Resident") -> "InProcessGrid":
    """Lay each node's rows into its folder, in place of data that were always there, and return the grid of the nodes.

    Who holds which clients follows from the registered keys, not from what a node says of itself.
    """
    from fedbench.federation import job, strategies
    from fedbench.federation.remote import RemoteGrid

    run = order.run
    assert run.strategy is not None
    assert run.federation is not None
    population = strategies.population(run, [resident.local_steps(client) for client in range(run.clients)])
    rounds = strategies.rounds(run.strategy, run.federation, population)

    class Reporting(RemoteGrid):
        """Tells the process outside about every round."""

        done = 0

        def send_and_receive(self, messages, *, timeout=None):  # type: ignore[no-untyped-def]
            replies = super().send_and_receive(messages, timeout=timeout)
            self.done += 1
            write_json(order.progress, {"round": self.done, "rounds": rounds})
            return replies

    held = dict(zip(order.nodes, placement(run.clients, len(order.nodes)), strict=True))
    for node, folder in order.nodes.items():
        job.write(Path(folder), run, resident, Path(order.snapshot), held[node])
    _await_nodes(grid, order.nodes)
    write_json(order.progress, {"round": 0, "rounds": rounds})
    return Reporting(grid, held, carries_state=False, poll=POLL)


def _await_nodes(grid: Grid, expected: Iterable[int]) -> None:
    """Wait until every node is there: Flower would sample from those that happen to have connected first."""
    nodes, deadline = list(expected), time.monotonic() + ARRIVE
    while missing := [number for number, node in enumerate(nodes) if node not in set(grid.get_node_ids())]:
        if time.monotonic() > deadline:
            raise FedbenchError(f"SuperNodes {missing} did not connect within {ARRIVE:g} s", remedy="See their logs.")
        time.sleep(POLL)
