"""Key-value pairs of tokens: associative recall, as models of sequences are tested on it."""

from dataclasses import dataclass

import numpy as np

from lightning_ebm.data.episodes import ANY, PatternSource, Sampling, Split
from lightning_ebm.memory import PatternSpec
from lightning_ebm.settings import Settings, setting


@dataclass(frozen=True)
class KeyValueConfig(Settings):
    """Settings of `KeyValue`; the defaults are the vocabulary and the least width of the paper's figure 2."""

    vocabulary: int = setting(8192, at_least=2)
    """Tokens, an even number: the first half are keys, the others values."""
    code: str = setting("random", one_of=("random", "one_hot"))
    """How a token is written down: as fair random bits, its own for ever (random), or as a single 1 among as many bits
    as there are keys, or values (one_hot)."""
    code_dim: int = setting(64, at_least=1)
    """Bits of a random code."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.vocabulary % 2:
            raise ValueError(f"vocabulary must be even, half keys and half values, got {self.vocabulary}")


class KeyValue(PatternSource):
    """Patterns are a key and its value, two tokens, one code after the other: multi-query associative recall (MQAR).

    Within an episode no two pairs share a key or a value, which are drawn anew for each, so that what belongs to a key
    can only be remembered. With replacement, pairs occur more than once, and a key still has one value. A query is the
    key alone where the distortion takes the right half; a pattern that is recalled exactly has then the right value.
    All splits have one distribution and one code for each token, as the embeddings of a sequence model do.
    """

    config = KeyValueConfig
    citation = (
        "S. Arora, S. Eyuboglu, A. Timalsina, I. Johnson, M. Poli, J. Zou, A. Rudra and C. Ré, Zoology: Measuring and"
        " Improving Recall in Efficient Language Models, ICLR 2024, arXiv:2312.04927"
    )

    def __init__(self, config: KeyValueConfig = KeyValueConfig()) -> None:
        self.tokens = config.vocabulary // 2
        if config.code == "one_hot":
            self.keys = self.values = np.eye(self.tokens, dtype=np.float32)
        else:
            random = np.random.Generator(np.random.PCG64(0))
            codes = random.integers(2, size=(config.vocabulary, config.code_dim)).astype(np.float32)
            if len(np.unique(codes, axis=0)) < len(codes):
                raise ValueError(
                    f"code_dim must be larger: two of {config.vocabulary} tokens have the same random code of"
                    f" {config.code_dim} bits"
                )
            self.keys, self.values = codes[: self.tokens], codes[self.tokens :]
        self.spec = PatternSpec((2 * self.keys.shape[1],), binary=True)

    def draw(self, split: Split, count: int, random: np.random.Generator, sampling: Sampling = ANY) -> np.ndarray:
        """See `PatternSource.draw`: (count, size) bits. At most all keys, unless with replacement; no classes."""
        if sampling.classes:
            raise ValueError(f"episodes.classes must be 0, as pairs of tokens have no classes, got {sampling.classes}")
        if count > self.tokens and not sampling.with_replacement:
            raise ValueError(
                f"episodes.patterns_per_episode must be at most {self.tokens}, the number of keys, got {count}: or set"
                " data.vocabulary or episodes.with_replacement=true"
            )
        pairs = min(count, self.tokens)
        keys, values = (random.choice(self.tokens, pairs, replace=False) for _ in range(2))
        chosen = random.integers(pairs, size=count) if sampling.with_replacement else np.arange(count)
        return np.concatenate([self.keys[keys[chosen]], self.values[values[chosen]]], axis=1)
