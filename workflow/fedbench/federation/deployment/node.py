"""The ClientApp of a deployed SuperNode: the clients of the job that lies in the node's own folder."""

from flwr.app import Context
from flwr.clientapp import ClientApp

from fedbench.federation.remote import node_app


def load(context: Context) -> ClientApp:
    """Return the client side of this node's job."""
    from fedbench.federation import job  # torch: not before a message has come

    return job.client(str(context.node_config["job"]))


app = node_app(load)
