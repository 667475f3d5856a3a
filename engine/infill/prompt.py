"""Prompt: the token context for a hole, anchored so that it only grows while the user types.

With fill-in-the-middle tokens the order is prefix, suffix, middle. If every typed character went
into the prefix, the suffix behind it would be prefilled again at each key. So the prefix stays as
it was when the prompt was first built (the anchor), and what was typed since is the beginning of
the *middle*: append-only. Context of other files stands in front of it all and belongs to the
anchor: pieces that change while the user types are taken up by the next anchor only.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from engine.infill.context import ContextWriter, Lead
from engine.infill.healing import heal
from engine.infill.hole import Hole
from engine.infill.route import Route
from engine.infill.window import prefix_start, suffix_tokens
from engine.messages.completion import Snippet
from engine.models.config import ModelConfig
from engine.tokenizer import CodeTokenizer

# The middle a prompt may carry before it is anchored anew at the cursor.
_MAX_TYPED_CHARS = 256
_MAX_ANCHORS = 64
# Tokens of the suffix that enter the bidirectional block.
SUFFIX_HEAD_TOKENS = 6


@dataclass(frozen=True, slots=True)
class Prompt:
    """context: tokens to prefill. need: bytes the first generated tokens must begin with.

    suffix_tokens: the windowed suffix; suffix_head: its first tokens, for the block.
    """

    context: list[int]
    need: bytes
    suffix_tokens: list[int]

    @property
    def suffix_head(self) -> list[int]:
        return self.suffix_tokens[:SUFFIX_HEAD_TOKENS]


@dataclass(frozen=True, slots=True)
class Anchor:
    """A fill-in-the-middle prompt as first built: its texts, and its tokens up to the middle."""

    prefix: str
    suffix: str
    tokens: list[int]
    suffix_tokens: list[int]


@dataclass(frozen=True, slots=True)
class _LeadAnchor:
    """The context of a prompt that has no suffix in it, for as long as typing appends to it.

    begin: where in the prefix its window began."""

    prefix: str
    begin: int
    lead: Lead


class PromptBuilder:
    """Builds prompts and remembers one anchor per document.

    max_context_tokens: for pieces of other files, besides the other two.
    """

    def __init__(
        self,
        tokenizer: CodeTokenizer,
        config: ModelConfig,
        *,
        max_prefix_tokens: int,
        max_suffix_tokens: int,
        max_context_tokens: int = 0,
    ) -> None:
        self._tokenizer, self._config = tokenizer, config
        self._max_prefix_tokens, self._max_suffix_tokens = max_prefix_tokens, max_suffix_tokens
        self._context = ContextWriter(tokenizer, max_context_tokens)
        self._anchors: OrderedDict[str, Anchor] = OrderedDict()
        self._leads: OrderedDict[str, _LeadAnchor] = OrderedDict()

    def build(
        self,
        hole: Hole,
        route: Route,
        document: str | None,
        context: Sequence[Snippet] = (),
        path: str | None = None,
    ) -> Prompt:
        """context: pieces of other files, best first; path: of the completed file."""
        if route.method != "fim_tokens":
            return self._prefix_prompt(hole, document, context, path)
        anchor = self._anchors.get(document) if document is not None else None
        if anchor is None or not _still_holds(anchor, hole):
            anchor = self._new_anchor(hole, self._context.write(context, path))
        _remember(self._anchors, document, anchor)
        typed = self._tokenizer.encode(hole.prefix[len(anchor.prefix) :])
        healed = heal(typed, self._tokenizer)
        return Prompt([*anchor.tokens, *healed.tokens], healed.need, anchor.suffix_tokens)

    def _prefix_prompt(
        self,
        hole: Hole,
        document: str | None,
        snippets: Sequence[Snippet],
        path: str | None,
    ) -> Prompt:
        """Plain text left of the cursor; the cut start keeps it append-only while typing."""
        begin = prefix_start(hole.prefix, self._max_prefix_tokens, self._tokenizer)
        anchor = self._leads.get(document) if document is not None else None
        if anchor is None or anchor.begin != begin or not _is_typed_on(anchor.prefix, hole.prefix):
            anchor = _LeadAnchor(hole.prefix, begin, self._context.write(snippets, path))
        _remember(self._leads, document, anchor)
        lead = anchor.lead
        healed = heal(self._tokenizer.encode(hole.prefix[begin:]), self._tokenizer)
        context = [*self._tokenizer.bos_ids, *lead.before, *lead.inside, *healed.tokens]
        if not context:
            # An empty document: something must be there to predict the first token from.
            bos = self._config.bos_token_id
            context = [self._config.eos_token_ids[0] if bos is None else bos]
        tokens = suffix_tokens(hole.suffix, self._max_suffix_tokens, self._tokenizer)
        return Prompt(context, healed.need, tokens)

    def _new_anchor(self, hole: Hole, lead: Lead) -> Anchor:
        """Anchor at the last token edge before the cursor."""
        fim = self._config.fim
        assert fim is not None
        begin = prefix_start(hole.prefix, self._max_prefix_tokens, self._tokenizer)
        healed = heal(self._tokenizer.encode(hole.prefix[begin:]), self._tokenizer)
        text = hole.prefix[: len(hole.prefix) - len(healed.need.decode("utf-8"))]
        right = suffix_tokens(hole.suffix, self._max_suffix_tokens, self._tokenizer)
        tokens = [
            *self._tokenizer.bos_ids,
            *lead.before,
            fim.prefix,
            *lead.inside,
            *healed.tokens,
            fim.suffix,
            *right,
            fim.middle,
        ]
        return Anchor(text, hole.suffix, tokens, right)


def _still_holds(anchor: Anchor, hole: Hole) -> bool:
    return hole.suffix == anchor.suffix and _is_typed_on(anchor.prefix, hole.prefix)


def _is_typed_on(before: str, now: str) -> bool:
    """Whether a few characters were typed behind `before`, and nothing else has changed."""
    return 0 <= len(now) - len(before) <= _MAX_TYPED_CHARS and now.startswith(before)


_Kept = TypeVar("_Kept")


def _remember(kept: OrderedDict[str, _Kept], document: str | None, anchor: _Kept) -> None:
    """Keep `anchor` for the next request of `document` (None: forget it)."""
    if document is None:
        return
    kept[document] = anchor
    kept.move_to_end(document)
    while len(kept) > _MAX_ANCHORS:
        kept.popitem(last=False)
