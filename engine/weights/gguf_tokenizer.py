"""Rebuilds Qwen2.5's tokenizer from the tokens and merges inside a GGUF file, for the importer.

The result equals the publisher's tokenizer.json: NFC, the Qwen2 split pattern, byte-level BPE, and
the special tokens with the publisher's own flags (only those marked special vanish from text
decoded with skip_special_tokens).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.processors import ByteLevel as ByteLevelProcessor

from engine.weights.errors import WeightsError

# From the publisher's tokenizer.json (digits one by one, contractions, words, runs of symbols).
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Values of tokenizer.ggml.token_type.
_NORMAL, _CONTROL, _USER_DEFINED, _UNUSED = 1, 3, 4, 5
# Added by the publisher as ordinary text (special = false), though GGUF calls most of them control.
_NOT_SPECIAL = frozenset(
    {
        "<tool_call>",
        "</tool_call>",
        "<|fim_prefix|>",
        "<|fim_middle|>",
        "<|fim_suffix|>",
        "<|fim_pad|>",
        "<|repo_name|>",
        "<|file_sep|>",
    }
)


@dataclass(frozen=True, slots=True)
class GgufTokenizer:
    """added_ids: every token that is not ordinary text; fim_ids: prefix, suffix, middle or empty;
    first_unused_id: first vocabulary row that no token uses (None: there is none)."""

    tokenizer: Tokenizer
    added_ids: tuple[int, ...]
    fim_ids: dict[str, int]
    first_unused_id: int | None


def build_tokenizer(metadata: dict[str, Any], num_rows: int) -> GgufTokenizer:
    """Tokenizer of a GGUF file's `metadata` for a vocabulary of `num_rows` rows.

    Raises WeightsError when the file holds another kind of tokenizer than Qwen2's.
    """
    form = (metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre"))
    if form != ("gpt2", "qwen2"):
        raise WeightsError(
            f"The GGUF file has a {form[0]}/{form[1]} tokenizer; only gpt2/qwen2 can be read."
        )
    tokens: list[str] = metadata.get("tokenizer.ggml.tokens", [])
    types: list[int] = metadata.get("tokenizer.ggml.token_type", [])
    merges = [tuple(line.split(" ")) for line in metadata.get("tokenizer.ggml.merges", [])]
    if not tokens or len(types) != len(tokens) or len(tokens) > num_rows:
        raise WeightsError("The GGUF file's token list does not fit its vocabulary.")
    vocabulary = {token: i for i, token in enumerate(tokens) if types[i] == _NORMAL}
    added = [i for i in range(len(tokens)) if types[i] in (_CONTROL, _USER_DEFINED)]
    try:
        tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=merges, fuse_unk=False))
    except Exception as error:  # the library raises bare Exception for merges of unknown tokens
        raise WeightsError(f"The GGUF file's merges cannot be used ({error}).") from None
    _set_steps(tokenizer)
    tokenizer.add_tokens(
        [
            AddedToken(tokens[i], normalized=False, special=tokens[i] not in _NOT_SPECIAL)
            for i in added
        ]
    )
    if any(tokenizer.token_to_id(tokens[i]) != i for i in added):
        raise WeightsError("The GGUF file's special tokens do not follow its ordinary ones.")
    fim_ids = {
        key: token_id
        for key in ("prefix", "suffix", "middle")
        if (token_id := tokenizer.token_to_id(f"<|fim_{key}|>")) is not None
    }
    unused = [i for i, kind in enumerate(types) if kind == _UNUSED]
    unused += range(len(tokens), num_rows)
    return GgufTokenizer(
        tokenizer,
        tuple(added),
        fim_ids if len(fim_ids) == 3 else {},
        unused[0] if unused else None,
    )


def _set_steps(tokenizer: Tokenizer) -> None:
    """The steps around BPE, as in the publisher's tokenizer.json."""
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = ByteLevelProcessor(
        add_prefix_space=False, trim_offsets=False, use_regex=False
    )
