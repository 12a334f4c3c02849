"""The plan follows the teacher of Self-Instruct: a model is fetched for it, templates need none."""

import pytest
import yaml
from checkout import REPOSITORY, Checkout

from fedbench.experiment import overlay

TINY = yaml.safe_load((REPOSITORY / "tests" / "workflow" / "tiny.yaml").read_text())


@pytest.mark.parametrize(("teacher", "snapshots"), [("template", 0), ("smollm2", 1)])
def test_a_snapshot_is_fetched_only_for_a_model_that_teaches(tmp_path, teacher, snapshots):
    checkout = Checkout(tmp_path)
    path = checkout.folder / "mine.yaml"
    chosen = {"edge_fit": {"instructions": {"self_instruct": {"teacher": teacher}}}}
    path.write_text(yaml.safe_dump(overlay(TINY, chosen)))
    planned = checkout.planned("dolly_augment", config=path)
    assert "Dolly: Self-Instruct" in planned
    assert len([job for job in planned if job.startswith(f"Model snapshot: {teacher}-")]) == snapshots
    assert len(planned) == 3 + snapshots
