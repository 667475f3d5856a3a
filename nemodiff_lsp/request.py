"""Snapshot and settings to the CompletionRequest that the engine gets. Called by `server.py`."""

from __future__ import annotations

import hashlib
import secrets

from lsprotocol import types

from engine.messages.completion import CompletionRequest
from nemodiff_lsp.settings import Settings
from nemodiff_lsp.snapshot import Snapshot

# Keyed anew in each process: the engine can tell our documents apart, and two windows that show
# the same file do not overwrite each other's cache, but no path can be guessed back from the id.
_DOCUMENT_KEY = secrets.token_bytes(16)


def build_request(
    snapshot: Snapshot, settings: Settings, trigger: types.InlineCompletionTriggerKind
) -> CompletionRequest:
    """The request for `snapshot`: several alternatives when a key asked for it, else one."""
    is_invoked = trigger is types.InlineCompletionTriggerKind.Invoked
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
        deadline_ms=settings.invoked_deadline_ms if is_invoked else settings.deadline_ms,
        document=document_id(snapshot.uri),
        # Who presses a key for it wants to see what there is.
        gate=not is_invoked,
    )


def document_id(uri: str) -> str:
    """An opaque id for `uri`: equal for equal uris within this process, meaningless outside it."""
    return hashlib.blake2b(
        uri.encode("utf-8", "replace"), key=_DOCUMENT_KEY, digest_size=16
    ).hexdigest()
