"""Which grid a federated run is executed on."""

from fedbench.federation.client import Resident
from fedbench.federation.simulation import Evaluate, Outcome, simulate
from fedbench.procedures.result import Inputs
from fedbench.spec import RunSpec
from fedbench.training.checkpoint import Checkpoint


def federate(run: RunSpec, inputs: Inputs, resident: Resident, evaluate: Evaluate, checkpoint: Checkpoint) -> Outcome:
    """Run the strategy where `inputs` or else the run says: on deployed nodes, on Ray, or in this process."""
    assert run.federation is not None
    assert inputs.snapshot is not None
    initial, on_round = resident.trainer.arrays(), inputs.bar.reached
    if inputs.grid is not None:
        return simulate(run, resident, initial, evaluate, checkpoint, on_round, grid=inputs.grid(resident))
    if run.federation.grid == "ray":
        from fedbench.federation.ray_grid import simulate_on_ray

        folder = checkpoint.path.with_name(f"{run.folder}.ray")
        return simulate_on_ray(run, resident, inputs.snapshot, folder, initial, evaluate, checkpoint, on_round)
    return simulate(run, resident, initial, evaluate, checkpoint, on_round)
