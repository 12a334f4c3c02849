"""Groups of strategies beside a base one: the difference, and the accuracy by which a setting may be chosen."""

import fake_results as fake
import pytest

from fedbench.reporting import gsfs_groups
from fedbench.reporting.results import Results


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """The rows of one group, by title of the strategy, and the results behind them."""
    results = Results.read(fake.build(tmp_path_factory.mktemp("groups")))
    settings = {"rates": {"title": "Rates", "base": "fedavg", "strategies": ["fedadam", "gsfs", "absent"]}}
    experiment = fake.experiment()
    gsfs = experiment.gsfs.model_validate({**experiment.gsfs.model_dump(), "groups": settings, "seeds": [0, 1, 2]})
    found = gsfs_groups.table(experiment.model_copy(update={"gsfs": gsfs}), results)
    return found.set_index("Strategy").to_dict("index"), results


def test_the_base_comes_first_and_has_no_difference(rows):
    found, _ = rows
    assert next(iter(found)) == "FedAvg"
    assert found["FedAvg"]["Accuracy less the base"] == found["FedAvg"]["Reading"] == ""
    assert found["GSFS"]["Accuracy less the base"].value == pytest.approx(0.03, abs=0.03)


@pytest.mark.parametrize("column", ["accuracy", "loss"])
def test_validation_is_that_of_the_last_version(rows, column):
    found, results = rows
    last = []
    for _, history in results.select("gsfs", "federated", strategy="gsfs", partition="dirichlet").histories():
        scored = history[(history["client"] == -1) & (history["phase"] == "validation")]
        last.append(scored.set_index("round")[column].loc[10])
    assert len(last) == 3
    shown = found["GSFS"][f"{column.capitalize()}, validation"]
    assert shown.value == pytest.approx(sum(last) / 3)
    assert shown.seeds == 3


def test_what_did_not_run_has_no_accuracy_on_validation(rows):
    found, _ = rows
    assert found["absent"]["Accuracy, validation"] == found["absent"]["Loss, validation"] == "not run"
    assert "no run" in found["absent"]["note"]
