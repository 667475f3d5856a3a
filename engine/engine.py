"""Engine: one loaded model and everything that answers requests with it.

Not thread-safe by design: one thread owns it (engine.server.engine_thread, or the command line).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import torch

from engine.adapters import built_in_gate
from engine.config import EngineConfig
from engine.decoding.batch import run_passes
from engine.decoding.loop import Run
from engine.device import DeviceChoice, choose_device
from engine.errors import EngineError, PassAbandoned
from engine.graphs.choice import choose_passes, wants_plain_weights
from engine.infill.answer import Tools
from engine.infill.bench import Bench
from engine.infill.gate import NEVER, Gate
from engine.infill.prompt import PromptBuilder
from engine.infill.single import CompletionRun, begin_completion
from engine.infill.tasks import begin_fill, begin_repair
from engine.messages.completion import Completion, CompletionRequest
from engine.messages.fill import Fill, FillRequest
from engine.messages.repair import Repair, RepairRequest
from engine.models.decoder import Decoder
from engine.models.load import LoadedModel, load_model
from engine.prefix_cache import PrefixCache
from engine.tokenizer import CodeTokenizer
from engine.weights.resolve import resolve_model

Report = Callable[[str, float | None], None]
Result = TypeVar("Result")

# About 100 ms of work on a laptop CPU, 10 ms on a data-centre GPU.
_PREFILL_CHUNK_TOKENS = {"cpu": 64, "cuda": 512}
# Where a pass over two requests' tokens is hardly faster any more than a pass for each of them.
_MAX_BATCH_TOKENS = {"cpu": 32, "cuda": 256}
# What a cold prompt may cost on top, for pieces of other files.
_CONTEXT_TOKENS = {"cpu": 512, "cuda": 2048}


def _no_report(phase: str, fraction: float | None) -> None:
    """For callers that show no progress."""


class Engine:
    """Built by `load`. num_forwards grows by one for each model pass, for tests and metrics.

    A request is begun, and then run forward by forward, with those of other requests in between;
    `complete` is the simple twin that runs one request to its end.
    """

    def __init__(
        self,
        config: EngineConfig,
        choice: DeviceChoice,
        loaded: LoadedModel,
        tokenizer: CodeTokenizer,
        folder: Path,
        gate: Gate = NEVER,
    ) -> None:
        self.config, self.choice, self.tokenizer, self.folder = config, choice, tokenizer, folder
        self.decoder, self.notes = loaded.decoder, loaded.notes
        self.draft_adapter, self.causal_adapter = loaded.draft_adapter, loaded.causal_adapter
        self.num_forwards = 0
        self.max_batch_tokens = _MAX_BATCH_TOKENS[choice.device.type]
        asked = config.max_context_tokens
        self.max_context_tokens = _CONTEXT_TOKENS[choice.device.type] if asked is None else asked
        self.prefix_cache = PrefixCache(
            self.decoder.new_cache, config.max_cache_bytes or _default_cache_bytes(self)
        )
        self.prompts = PromptBuilder(
            tokenizer,
            self.decoder.config,
            max_prefix_tokens=config.max_prefix_tokens,
            max_suffix_tokens=config.max_suffix_tokens,
            max_context_tokens=self.max_context_tokens,
        )
        self.tools = Tools(
            self.decoder,
            tokenizer,
            _forbidden_ids(self.decoder, tokenizer),
            tokenizer.newline_tokens(),
            config.prefill_chunk_tokens or _PREFILL_CHUNK_TOKENS[choice.device.type],
            gate,
            max_batch_tokens=self.max_batch_tokens,
        )
        self.passes = choose_passes(
            self.decoder, self.tools.choosable, config.graphs, config.kernels
        )

    @classmethod
    def load(cls, config: EngineConfig, report: Report = _no_report) -> Engine:
        """Find, check and load the model. Raises EngineError, WeightsError or ConfigError."""
        choice = choose_device(config.device, config.dtype, config.num_threads, config.weights)
        if choice.device.type == "cpu":
            torch.set_num_threads(choice.num_threads)
        folder = resolve_model(config.model, offline=config.offline, report=report)
        tokenizer = CodeTokenizer(folder / "tokenizer.json")
        loaded = load_model(
            folder,
            choice,
            draft_adapter=config.draft_adapter,
            causal_adapter=config.causal_adapter,
            model_name=config.model,
            pack=not wants_plain_weights(config.graphs, choice.device),
            report=report,
        )
        if tokenizer.num_ids > loaded.decoder.config.vocab_size:
            raise EngineError(
                f"{folder / 'tokenizer.json'} has ids up to {tokenizer.num_ids - 1}, but the model "
                f"has only {loaded.decoder.config.vocab_size} vocabulary rows: they do not belong "
                "together."
            )
        engine = cls(config, choice, loaded, tokenizer, folder, _gate_for(config, loaded))
        if engine.passes.runner is not None and engine.passes.warms_up:
            engine.passes.runner.warm_up(report)
        return engine

    @property
    def bench(self) -> Bench:
        """What a request works with from now on."""
        return Bench(
            self.tools,
            self.prompts,
            self.prefix_cache,
            model_name=self.config.model,
            has_causal_adapter=self.causal_adapter is not None,
        )

    def describe(self) -> dict[str, Any]:
        """Facts for `nemodiff engine status`: plain JSON values, no document text."""
        c = self.decoder.config
        return {
            "model": self.config.model,
            "family": c.family,
            "num_layers": c.num_layers,
            "hidden_size": c.hidden_size,
            "device": str(self.choice.device),
            "dtype": str(self.choice.dtype).removeprefix("torch."),
            "weights": self.decoder.weights,
            "num_threads": self.choice.num_threads,
            "reasons": list(self.choice.reasons),
            "notes": [*self.notes, *self.passes.notes],
            "alignment": c.alignment,
            "adapter_scope": c.adapter_scope,
            "draft_adapter": self.draft_adapter,
            "causal_adapter": self.causal_adapter,
            "gate": self.tools.gate.describe(),
            "max_prefix_tokens": self.config.max_prefix_tokens,
            "max_suffix_tokens": self.config.max_suffix_tokens,
            "max_context_tokens": self.max_context_tokens,
        }

    def complete(
        self,
        request: CompletionRequest,
        *,
        is_cancelled: Callable[[], bool] = lambda: False,
        arrived_s: float | None = None,
        emit: Callable[[int, str], None] = lambda index, text: None,
    ) -> Completion:
        """Answer one request; the arguments are those of `begin`."""
        run: CompletionRun = self.begin(
            request, is_cancelled=is_cancelled, arrived_s=arrived_s, emit=emit
        )
        return self.run_to_end(run)

    def fill(self, request: FillRequest) -> Fill:
        """Fill all holes of one text; see `engine.infill.fill`."""
        run: Run[Any, Fill] = self.begin(request)
        return self.run_to_end(run)

    def repair(self, request: RepairRequest) -> Repair:
        """Write what is doubtful anew; see `engine.infill.repair`. Raises EngineError."""
        run: Run[Any, Repair] = self.begin(request)
        return self.run_to_end(run)

    def run_to_end(self, run: Run[Any, Result]) -> Result:
        """Do all forwards of `run`, one after the other; raises what it ends with."""
        run.check()
        while not run.is_ended:
            self.run([run])
            run.check()
        if run.error is not None:
            raise run.error
        assert run.result is not None
        return run.result

    def begin(
        self,
        request: CompletionRequest | FillRequest | RepairRequest,
        *,
        is_cancelled: Callable[[], bool] = lambda: False,
        arrived_s: float | None = None,
        emit: Callable[[int, str], None] = lambda index, text: None,
    ) -> Run[Any, Any]:
        """A request up to its first forward; its run ends with the answer that belongs to it.

        `arrived_s` is time.monotonic() at its arrival; `emit` gets the index of a choice and new
        text of it, in order, as soon as the text is certain. Of one document only one request may
        be in work: its KV has one owner. Raises EngineError.
        """
        arrived = time.monotonic() if arrived_s is None else arrived_s
        if isinstance(request, FillRequest):
            return begin_fill(self.bench, request, is_cancelled=is_cancelled, arrived_s=arrived)
        if isinstance(request, RepairRequest):
            return begin_repair(self.bench, request, is_cancelled=is_cancelled, arrived_s=arrived)
        return begin_completion(
            self.bench, request, is_cancelled=is_cancelled, arrived_s=arrived, emit=emit
        )

    def run(self, runs: Sequence[Run[Any, Any]]) -> None:
        """Do the pending pass of each of `runs`, in one model pass. Several must be joinable, and
        together at most `max_batch_tokens` long. What goes wrong ends the run it belongs to. When
        all of them are cancelled meanwhile, the pass is given up, and they end."""
        passes = [each for run in runs for each in run.pending]
        started = time.monotonic()
        try:
            is_unwanted = partial(_are_unwanted, runs)
            with torch.inference_mode(), self.decoder.abandoned_when(is_unwanted):
                outputs = run_passes(passes, self.decoder, self.passes.runner)
        except PassAbandoned:
            for run in runs:
                run.check()
            return
        except Exception as error:
            if len(runs) == 1:
                runs[0].fail(error)
                return
            # One bad request must not take others with it.
            for run in runs:
                self.run([run])
            return
        self.num_forwards += 1
        elapsed_ms = (time.monotonic() - started) * 1e3
        remaining = iter(outputs)
        for run in runs:
            run.take(list(islice(remaining, len(run.pending))), elapsed_ms)


def _are_unwanted(runs: Sequence[Run[Any, Any]]) -> bool:
    return all(run.is_unwanted for run in runs)


def _gate_for(config: EngineConfig, loaded: LoadedModel) -> Gate:
    """The gate that was calibrated with the model's own causal adapter, where that is in use."""
    path = built_in_gate(config.model)
    is_own = loaded.causal_adapter == f"built-in:{config.model}/causal"
    return Gate.read(path) if path is not None and is_own else NEVER


def _default_cache_bytes(engine: Engine) -> int:
    """Room for four full windows with what other files bring, at least 256 MiB."""
    c, asked = engine.decoder.config, engine.config
    window_tokens = asked.max_prefix_tokens + asked.max_suffix_tokens + engine.max_context_tokens
    bytes_per_token = 2 * c.num_layers * c.num_kv_heads * c.head_dim * engine.decoder.dtype.itemsize
    return max(256 * 2**20, 4 * window_tokens * bytes_per_token)


def _forbidden_ids(decoder: Decoder, tokenizer: CodeTokenizer) -> torch.Tensor:
    """bool (vocab_size,): the mask id, and every id that neither spells text nor ends it."""
    c = decoder.config
    allowed = [i for i in range(c.vocab_size) if tokenizer.token_bytes(i)]
    forbidden = torch.ones(c.vocab_size, dtype=torch.bool, device=decoder.device)
    forbidden[allowed] = False
    forbidden[list(c.eos_token_ids)] = False
    forbidden[c.mask_token_id] = True
    return forbidden
