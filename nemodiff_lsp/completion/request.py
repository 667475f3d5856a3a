"""Snapshot and settings to the CompletionRequest that the engine gets. Called by `calls.py`."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence

from engine.messages.completion import CompletionRequest, Priority, Snippet
from nemodiff_lsp.documents.snapshot import Snapshot
from nemodiff_lsp.settings.settings import Settings

# Keyed anew in each process: the engine can tell our documents apart, and two windows that show
# the same file do not overwrite each other's cache, but no path can be guessed back from the id.
_DOCUMENT_KEY = secrets.token_bytes(16)

CLIENT_ID = secrets.token_hex(8)
"""Names this process to the engine, which shares itself fairly among its clients."""


def build_request(
    snapshot: Snapshot,
    settings: Settings,
    *,
    is_invoked: bool,
    deadline_ms: float,
    priority: Priority = "interactive",
    draft: str = "",
    context: Sequence[Snippet] = (),
    path: str | None = None,
) -> CompletionRequest:
    """The request for `snapshot`: several alternatives when a key asked for it, else one.

    deadline_ms: from the arrival at the engine. context: pieces of other files, beside which `path`
    names the completed one.
    """
    return CompletionRequest(
        prompt=snapshot.prefix,
        suffix=snapshot.suffix,
        mode=settings.mode,
        max_tokens=settings.max_tokens,
        block_size=settings.block_size,
        confidence_threshold=settings.confidence_threshold,
        max_denoising_steps=settings.max_denoising_steps,
        temperature=settings.temperature,
        seed=settings.seed,
        n=settings.num_alternatives if is_invoked else 1,
        deadline_ms=deadline_ms,
        document=document_id(snapshot.uri),
        # Who presses a key for it wants to see what there is.
        gate=not is_invoked,
        priority=priority,
        draft=draft,
        context=tuple(context),
        path=path if context else None,
        client=CLIENT_ID,
    )


def document_id(uri: str) -> str:
    """An opaque id for `uri`: equal for equal uris within this process, meaningless outside it."""
    return hashlib.blake2b(
        uri.encode("utf-8", "replace"), key=_DOCUMENT_KEY, digest_size=16
    ).hexdigest()


def scope_of(settings: Settings, context: Sequence[Snippet]) -> str:
    """What an answer depends on beside the text around the cursor; a digest."""
    chosen = (
        settings.mode,
        settings.max_tokens,
        settings.block_size,
        settings.confidence_threshold,
        settings.max_denoising_steps,
        settings.temperature,
        settings.seed,
        settings.num_alternatives,
        settings.model,
        settings.max_prefix_chars,
        settings.max_suffix_chars,
        [(piece.path, piece.text) for piece in context],
    )
    return hashlib.blake2b(repr(chosen).encode("utf-8", "replace"), digest_size=16).hexdigest()
