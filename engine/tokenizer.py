"""Text to token ids and back, byte-exact; the vocabulary look-ups that token healing needs.

Wraps a checkpoint's ``tokenizer.json`` (byte-level BPE). Text is always encoded as plain text: a
source file that spells out ``<|im_end|>`` must not put an end token into the prompt.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from engine.errors import EngineError


def _byte_alphabet() -> dict[str, int]:
    """The printable stand-ins that byte-level BPE uses for the 256 bytes (GPT-2's table)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(byte): byte for byte in printable}
    others = [byte for byte in range(256) if byte not in set(printable)]
    return table | {chr(256 + i): byte for i, byte in enumerate(others)}


class CodeTokenizer:
    """encode/decode plus byte-wise vocabulary look-ups. Raises EngineError on an unusable file."""

    def __init__(self, path: Path) -> None:
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise EngineError(f"{path} does not exist: the checkpoint has no tokenizer.") from None
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise EngineError(f"{path} is not valid JSON ({error}).") from None
        try:
            whole = Tokenizer.from_str(json.dumps(raw))
            # What the tokenizer puts before every text by itself (a begin token, or nothing).
            self.bos_ids: tuple[int, ...] = tuple(whole.encode("").ids)
            self._special = {t["content"]: int(t["id"]) for t in raw.get("added_tokens", [])}
            added = set(self._special.values())
            self._plain = Tokenizer.from_str(json.dumps({**raw, "added_tokens": []}))
        except Exception as error:
            raise EngineError(f"{path} is not a usable tokenizer ({error}).") from None
        self._bytes: dict[int, bytes] = {}
        alphabet = _byte_alphabet()
        for piece, token_id in self._plain.get_vocab().items():
            if token_id not in added and all(char in alphabet for char in piece):
                self._bytes[token_id] = bytes(alphabet[char] for char in piece)
        if len({b for b in self._bytes.values() if len(b) == 1}) < 256:
            raise EngineError(f"{path} is not a byte-level BPE tokenizer, which is required here.")
        self._sorted = sorted((piece, token_id) for token_id, piece in self._bytes.items())
        self._keys = [piece for piece, _ in self._sorted]

    @property
    def num_ids(self) -> int:
        """One more than the largest id that spells text."""
        return max(self._bytes) + 1

    def special_id(self, spelling: str) -> int | None:
        """Id of the special token written so in the tokenizer's file; None when it has none."""
        return self._special.get(spelling)

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text; special tokens spelled out in it stay text."""
        return list(self._plain.encode(text, add_special_tokens=False).ids)

    def token_starts(self, text: str) -> list[int]:
        """Index of the first character of each token of `encode(text)`."""
        encoding = self._plain.encode(text, add_special_tokens=False)
        return [start for start, _ in encoding.offsets]

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that a token writes; empty for special and unused ids."""
        return self._bytes.get(token_id, b"")

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        return b"".join(self.token_bytes(token_id) for token_id in ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`; an unfinished character at the end is left out, never shown in halves."""
        return complete_text(self.decode_bytes(ids))

    def newline_tokens(self) -> frozenset[int]:
        """Ids whose text holds a line end."""
        return frozenset(i for i, piece in self._bytes.items() if b"\n" in piece)

    def starts_longer_token(self, head: bytes) -> bool:
        """Whether some token begins with `head` and goes on after it."""
        at = bisect_left(self._keys, head + b"\x00")
        return at < len(self._keys) and self._keys[at].startswith(head)

    def allowed_first_tokens(self, text: bytes) -> list[int]:
        """Ids with which a token sequence that spells `text...` can begin (token healing).

        They either begin with the whole of `text` or are a proper prefix of it.
        """
        low = bisect_left(self._keys, text)
        ids = []
        while low < len(self._keys) and self._keys[low].startswith(text):
            ids.append(self._sorted[low][1])
            low += 1
        for length in range(1, len(text)):
            at = bisect_left(self._keys, text[:length])
            if at < len(self._keys) and self._keys[at] == text[:length]:
                ids.append(self._sorted[at][1])
        return ids


def complete_text(data: bytes) -> str:
    """The longest beginning of `data` that is whole UTF-8 characters."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        return data[: error.start].decode("utf-8")


def is_broken(data: bytes) -> bool:
    """Whether `data` holds bytes that no continuation can turn into UTF-8 characters."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.reason != "unexpected end of data"
    return False
