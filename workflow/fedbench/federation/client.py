"""The one Flower ClientApp: train the received adapter on the client's own rows, whatever the strategy and the grid."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fedbench.federation.arrays import to_numpy, to_record
from fedbench.training.batches import steps_per_epoch
from fedbench.training.examples import Examples
from fedbench.training.loop import Trainer


@dataclass
class Resident:
    """One base model that serves every client of a process, and what each client holds.

    Attributes:
        train, validation: examples of client i at position i.
        seed: of the batch order.
        on_step: called after each optimiser step, for progress.
    """

    trainer: Trainer
    train: list[Examples]
    validation: list[Examples]
    seed: int
    on_step: Callable[[int, float], None] | None = None

    def local_steps(self, client: int) -> int:
        """Return the mini-batches of one local round: E epochs."""
        spec = self.trainer.spec
        return spec.epochs * steps_per_epoch(len(self.train[client]), spec.batch_size)


def client_app(resident: Resident, mods: list[Callable[..., Any]]) -> ClientApp:
    """Return the client side.

    A train message carries `arrays` (the adapter) and `config`: `local-steps` (default: E epochs), `keep-optimizer`,
    `validate`, `proximal-mu` (FedProx) and `rate-factor` (on the learning rate). The reply carries `arrays` and
    `metrics`: num-examples, loss, seconds, tokens, padding, norm/<block> and, if asked, validation-loss and
    validation-accuracy. The client's own model stays in its state as `local`.
    """
    app = ClientApp(mods=mods)

    @app.train()  # type: ignore[untyped-decorator]
    def train(message: Message, context: Context) -> Message:
        client = int(context.node_config["partition-id"])
        config, trainer = message.content["config"], resident.trainer
        trainer.load(to_numpy(message.content["arrays"]))
        keep = bool(config.get("keep-optimizer", False))
        if keep and "optimizer" in context.state:
            trainer.load_optimizer(to_numpy(context.state["optimizer"]))
        trainer.scale_rate(float(config.get("rate-factor", 1.0)))
        done = int(context.state["cursor"]["batches"]) if "cursor" in context.state else 0
        steps = int(config.get("local-steps", 0)) or resident.local_steps(client)
        progress = trainer.train(
            resident.train[client],
            steps,
            (resident.seed, client),
            start=done,
            norms=keep,
            proximal=float(config.get("proximal-mu", 0.0)),
            on_step=resident.on_step,
        )
        context.state["cursor"] = MetricRecord({"batches": done + steps})
        arrays = to_record(trainer.arrays())
        context.state["local"] = arrays
        if keep:
            context.state["optimizer"] = to_record(trainer.optimizer_arrays())
        metrics: dict[str, float | int] = {
            "num-examples": len(resident.train[client]),
            "loss": progress.loss,
            "seconds": progress.seconds,
            "tokens": progress.tokens,
            "padding": progress.padding,
            **{f"norm/{block}": norm for block, norm in progress.norms.items()},
        }
        if config.get("validate", False):
            loss, accuracy = trainer.evaluate(resident.validation[client])
            metrics |= {"validation-loss": loss, "validation-accuracy": accuracy}
        return Message(RecordDict({"arrays": arrays, "metrics": MetricRecord(metrics)}), reply_to=message)

    return app
