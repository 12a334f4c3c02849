"""The widths of a transformer block, which its activations are made of."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Adapted:
    """A matrix of a block that has an adapter: its input width, and whether it reads the normed input of the block."""

    inputs: int
    reads_norm: bool


@dataclass(frozen=True)
class Block:
    """The widths of a transformer block, by the letters of the formula in `fedbench.models.memory`.

    Attributes:
        width, inner, heads: h, f, a.
        queries, keys: q, k.
        head_width: of one head.
        norms: RMSNorms over h.
        head_norms: queries and keys are normalised too.
        fused: one projection makes queries, keys and values.
        readers: matrices that read a norm.
        matrices: numbers in the matrices, without adapters.
        largest: numbers in the largest of them.
        adapted: the matrices with an adapter.
    """

    width: int
    inner: int
    heads: int
    queries: int
    keys: int
    head_width: int
    norms: int
    head_norms: bool
    fused: bool
    readers: int
    matrices: int
    largest: int
    adapted: tuple[Adapted, ...]
