"""Builds the tiny model's tokenizer in the low-id layout of the Nemotron tokenizers.

Run by `train` before it trains. Ids 0..109 are special tokens, then come the 256 bytes, then the
merges learnt on the language.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from tests.tiny_model import language

NUM_SPECIAL_TOKENS = 110
VOCAB_SIZE = 640
MASK_TOKEN_ID = 100
_NAMED = {0: "<unk>", 1: "<s>", 2: "</s>", 10: "<|im_start|>", 11: "<|im_end|>"}
# Words take the space before them; runs of punctuation take the line end after them.
_WORDS = r" ?\p{L}+| ?\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def special_tokens() -> list[str]:
    """Texts of ids 0..109; the mask is ``<SPECIAL_100>``."""
    return [_NAMED.get(i, f"<SPECIAL_{i}>") for i in range(NUM_SPECIAL_TOKENS)]


def build_tokenizer(folder: Path, *, num_documents: int = 4000) -> Tokenizer:
    """Learn the merges on training documents and write both tokenizer files into `folder`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=special_tokens(),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    stream = itertools.islice(language.documents(0, held_out=False), num_documents)
    tokenizer.train_from_iterator((doc.text for doc in stream), trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    described = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": False,
        "add_eos_token": False,
        "bos_token": "<s>",
        "eos_token": "<|im_end|>",
        "unk_token": "<unk>",
        "clean_up_tokenization_spaces": False,
        "model_max_length": 2048,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(described, indent=2) + "\n")
    return tokenizer
