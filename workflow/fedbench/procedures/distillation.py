"""Knowledge distillation: what a finished central model says of the flows that clients train on (GSFS III-A, 1)."""

from collections.abc import Sequence

import numpy as np
from safetensors.numpy import load_file

from fedbench.errors import FedbenchError
from fedbench.models.loading import load
from fedbench.procedures.result import Inputs
from fedbench.spec import RunSpec
from fedbench.training.examples import flows
from fedbench.training.loop import Trainer


def teach(run: RunSpec, inputs: Inputs, texts: Sequence[str], names: list[str]) -> np.ndarray:
    """Return the teacher's logits of each text, (texts, classes) float32; equal texts are answered once.

    Raises:
        FedbenchError: the teacher's run did not succeed, or was trained on other classes.
    """
    assert run.teacher is not None
    assert inputs.teacher is not None
    adapter, snapshot = inputs.teacher
    arrays = load_file(adapter)
    if not arrays:
        raise FedbenchError(
            f"the teacher {run.teacher.run} has no model",
            where=adapter,
            remedy="Its own row says why it did not run; mend that and run again.",
        )
    loaded = load(snapshot, "classify", run.teacher.training, names, run.seed)
    teacher = Trainer(loaded, run.teacher.training)
    teacher.load(arrays)
    distinct = list(dict.fromkeys(texts))
    examples = flows(loaded.tokenizer, distinct, [0] * len(distinct), run.teacher.training.max_length)
    answers = dict(zip(distinct, teacher.logits(examples), strict=True))
    return np.stack([answers[text] for text in texts])
