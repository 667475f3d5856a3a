"""Runs llama.cpp for `llama_peer.py`, in an interpreter that has llama-cpp-python.

Needs nothing of NemoDiff: ``PYTHON llama_driver.py MODEL.gguf --threads N`` answers one line of
JSON for each line of JSON on stdin; ``--requantise OUT.gguf`` writes MODEL.gguf as Q8_0 and ends.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

_Q8_0 = 7
_CHUNK = 512
_ROOM = 1024
_NUM_DISCARDED = 3


def main() -> int:
    """The exit code; problems are told as one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--requantise")
    args = parser.parse_args()
    # What llama.cpp writes by itself must not get between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(body: dict[str, Any]) -> None:
        answers.write(json.dumps(body) + "\n")
        answers.flush()

    try:
        library: Any = importlib.import_module("llama_cpp")
        if args.requantise:
            answer(_requantise(library, args.model, args.requantise, args.threads))
            return 0
        driver = Driver(library, args.model, args.threads)
        answer({"version": library.__version__})
        for line in sys.stdin:
            answer(driver.do(json.loads(line)))
    except ImportError:
        answer({"error": "llama-cpp-python is not installed in the interpreter given."})
        return 1
    except (AttributeError, RuntimeError, OSError) as error:
        answer({"error": str(error) or type(error).__name__})
        return 1
    return 0


def _requantise(library: Any, source: str, target: str, num_threads: int) -> dict[str, Any]:
    params = library.llama_model_quantize_default_params()
    params.ftype, params.allow_requantize, params.nthread = _Q8_0, True, num_threads
    code = library.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(params))
    return {"error": f"llama.cpp cannot convert it (code {code})."} if code else {"written": True}


class Driver:
    """One model; a context for each cached length, so that no pass sees cells of another."""

    def __init__(self, library: Any, model: str, num_threads: int) -> None:
        self._library, self._num_threads = library, num_threads
        self._quiet = library.llama_log_callback(lambda level, text, data: None)
        library.llama_log_set(self._quiet, ctypes.c_void_p(0))
        library.llama_backend_init()
        self._model = library.llama_model_load_from_file(
            model.encode(), library.llama_model_default_params()
        )
        if not self._model:
            raise RuntimeError("llama.cpp cannot load the GGUF file.")
        vocabulary = library.llama_model_get_vocab(self._model)
        self._num_ids = int(library.llama_vocab_n_tokens(vocabulary))
        self._contexts: dict[int, Any] = {}
        self._prompt: tuple[list[int], Any] | None = None

    def do(self, asked: dict[str, Any]) -> dict[str, Any]:
        """ms and waiting of one call. Raises RuntimeError."""
        if asked["do"] == "forward":
            return self._forward(asked["block"], asked["cached"])
        if asked["do"] == "prefill":
            return self._prefill(asked["length"])
        return self._complete(asked["ids"], asked["num"], asked["warm"])

    def _forward(self, block: int, cached: int) -> dict[str, Any]:
        if cached not in self._contexts:
            context = self._context(cached + block)
            self._read(context, _tokens(cached), 0)
            self._contexts[cached] = context
        context = self._contexts[cached]
        found = _timed(lambda: self._decode(context, _tokens(block), cached, all_logits=True))
        self._crop(context, cached)
        return found

    def _prefill(self, length: int) -> dict[str, Any]:
        context = self._context(length)
        found = _timed(lambda: self._read(context, _tokens(length), 0))
        self._library.llama_free(context)
        return found

    def _complete(self, ids: list[int], num: int, is_warm: bool) -> dict[str, Any]:
        if is_warm and self._prompt is not None and self._prompt[0] == ids:
            context = self._prompt[1]
        else:
            context = self._context(len(ids))
            if is_warm:
                self._read(context, ids[:-1], 0)
                # A context's first short passes set up what its later ones find ready.
                self._generate(context, ids[-1:], len(ids) - 1, _NUM_DISCARDED)
                self._crop(context, len(ids) - 1)
                if self._prompt is not None:
                    self._library.llama_free(self._prompt[1])
                self._prompt = (ids, context)
        start = len(ids) - 1 if is_warm else 0
        found = _timed(lambda: self._generate(context, ids[start:], start, num))
        if is_warm:
            self._crop(context, start)
        else:
            self._library.llama_free(context)
        return found

    def _generate(self, context: Any, ids: list[int], start: int, num: int) -> None:
        for _ in range(num):
            row = self._read(context, ids, start)
            start += len(ids)
            ids = [self._best(context, row)]

    def _context(self, num_tokens: int) -> Any:
        params = self._library.llama_context_default_params()
        params.n_ctx = num_tokens + _ROOM
        params.n_batch = params.n_ubatch = _CHUNK
        params.n_threads = params.n_threads_batch = self._num_threads
        context = self._library.llama_init_from_model(self._model, params)
        if not context:
            raise RuntimeError("llama.cpp cannot make a context of this length.")
        return context

    def _read(self, context: Any, ids: list[int], start: int) -> int:
        """Causal passes over `ids`; returns the row of the last one's logits."""
        row = 0
        for at in range(0, len(ids), _CHUNK):
            chunk = ids[at : at + _CHUNK]
            self._decode(context, chunk, start + at, all_logits=False)
            row = len(chunk) - 1
        return row

    def _decode(self, context: Any, ids: list[int], start: int, *, all_logits: bool) -> None:
        batch = self._library.llama_batch_init(len(ids), 0, 1)
        try:
            batch.n_tokens = len(ids)
            for at, token in enumerate(ids):
                batch.token[at], batch.pos[at] = token, start + at
                batch.n_seq_id[at], batch.seq_id[at][0] = 1, 0
                batch.logits[at] = 1 if all_logits or at == len(ids) - 1 else 0
            if self._library.llama_decode(context, batch):
                raise RuntimeError("llama.cpp could not do the pass.")
            # The pass may still run when it returns; its logits are there when it is done.
            self._library.llama_get_logits_ith(context, len(ids) - 1)
        finally:
            self._library.llama_batch_free(batch)

    def _best(self, context: Any, row: int) -> int:
        numpy: Any = importlib.import_module("numpy")
        logits = self._library.llama_get_logits_ith(context, row)
        return int(numpy.ctypeslib.as_array(logits, (self._num_ids,)).argmax())

    def _crop(self, context: Any, length: int) -> None:
        memory = self._library.llama_get_memory(context)
        self._library.llama_memory_seq_rm(memory, 0, length, -1)


def _tokens(num: int) -> list[int]:
    return [(7919 * at + 13) % 30_000 for at in range(num)]


def _timed(work: Any) -> dict[str, Any]:
    before, started = _run_queue_ns(), time.perf_counter_ns()
    work()
    elapsed = time.perf_counter_ns() - started
    waited = [now - before.get(name, now) for name, now in _run_queue_ns().items()]
    return {"ms": elapsed / 1e6, "waiting": max(waited, default=0) / max(1, elapsed)}


def _run_queue_ns() -> dict[str, int]:
    waits: dict[str, int] = {}
    for path in Path("/proc/self/task").glob("*/schedstat"):
        try:
            waits[path.parent.name] = int(path.read_text(encoding="ascii").split()[1])
        except (OSError, IndexError, ValueError):
            continue
    return waits


if __name__ == "__main__":
    sys.exit(main())
