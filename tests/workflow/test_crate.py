"""The RO-Crate of a finished experiment names every job, with what it read and made."""

import json


def test_every_run_is_in_the_crate_with_its_files(finished, tiny):
    path = finished.folder / "results/tiny/ro-crate-metadata.json"
    answer = finished.snakemake(
        "--reporter", "fairscape", "--report-fairscape-path", "results/tiny/ro-crate-metadata.json", config=tiny
    )
    assert answer.returncode == 0, answer.stdout
    crate = json.loads(path.read_text())
    entities = {entity["@id"]: entity for entity in crate["@graph"]}
    assert "https://w3id.org/ro/crate/1" in entities["ro-crate-metadata.json"]["conformsTo"]["@id"]
    jobs = {entity["name"]: entity for entity in entities.values() if "prov:Activity" in entity["@type"]}
    runs = [folder.name for folder in (finished.folder / "results/tiny/runs").iterdir()]
    for run in runs:
        made = {entities[each["@id"]]["name"] for each in jobs[f"run (run={run})"]["generated"]}
        assert made == {"adapter.safetensors", "history.parquet", "predictions.parquet", "usage.json", "manifest.json"}
    scores = next(job for name, job in jobs.items() if name.startswith("score ") and runs[0] in name)
    used = {entities[each["@id"]].get("contentUrl", "") for each in scores["usedDataset"]}
    assert any(f"runs/{runs[0]}/predictions.parquet" in url for url in used)
