"""The decoder against independent implementations, and each fast path against its slow twin."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from engine.decoding.forward import Forward, prefill, row, run_forward
from engine.decoding.loop import Limits, Meter, run_steps
from engine.engine import Engine
from engine.models import load as model_load
from engine.models import storage as model_storage
from engine.models.decoder import Decoder
from engine.models.linear import Linear, LowRank, packing_problem
from tests.decoding.harness import assert_lossless, decode
from tests.models import checkpoints
from tests.reference import modes as slow
from tests.reference import network

TOLERANCE = {"atol": 2e-4, "rtol": 1e-4}


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    return checkpoints.load(checkpoints.write_qwen(tmp_path_factory.mktemp("qwen")))


@pytest.fixture(scope="module")
def qwen_with_adapter(tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    folder = checkpoints.write_qwen(tmp_path_factory.mktemp("adapted"))
    checkpoints.write_diffusion_adapter(folder / "diffusion_adapter")
    return checkpoints.load(folder)


def tokens(num: int, seed: int = 0) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(110, 600, (num,), generator=generator).tolist()


def causal_logits(decoder: Decoder, ids: list[int]) -> torch.Tensor:
    output = run_forward(
        Forward("prefill", row(ids, decoder.device), "causal"), decoder, decoder.new_cache()
    )
    return output.logits(slice(None))


def test_qwen2_logits_are_those_of_transformers(qwen: Decoder) -> None:
    transformers = pytest.importorskip("transformers")
    raw = {k: v for k, v in checkpoints.QWEN_CONFIG.items() if k not in ("nemodiff", "model_type")}
    peer = transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**raw)).eval()
    missing, surplus = peer.load_state_dict(checkpoints.qwen_tensors(), strict=False)
    assert not surplus and missing == ["lm_head.weight"]
    peer.tie_weights()
    ids = tokens(90)
    with torch.inference_mode():
        expected = peer(torch.tensor([ids])).logits[0]
    torch.testing.assert_close(causal_logits(qwen, ids), expected, **TOLERANCE)


@pytest.mark.parametrize("draft", [False, True])
def test_nemotron_logits_are_those_of_the_reference(tiny: Engine, draft: bool) -> None:
    """Positions beyond 128 exercise YaRN and the query scale; the adapter is on in drafts."""
    reference = network.load(checkpoints.TINY)
    ids = tokens(300)
    block = [100] * 9
    decoder = tiny.decoder
    cache = decoder.new_cache()
    run_steps(prefill(ids, cache, 64), decoder, cache, Meter(), Limits())
    found = run_forward(
        Forward("draft", row(block, decoder.device), "full", draft_adapter=draft), decoder, cache
    ).logits(slice(None))
    view = torch.ones(309, 309, dtype=torch.bool).tril()
    view[300:] = True
    rows = torch.arange(309) >= 300
    expected = network.forward(
        reference,
        torch.tensor([*ids, *block]),
        torch.arange(309),
        view,
        rows if draft else None,
    )[300:]
    torch.testing.assert_close(found, expected, **TOLERANCE)


def test_draft_adapter_changes_drafts_and_nothing_else(tiny: Engine) -> None:
    decoder = tiny.decoder
    block = row([200, *[100] * 7], decoder.device)
    logits = [
        run_forward(
            Forward("draft", block, "full", draft_adapter=on), decoder, decoder.new_cache()
        ).logits(slice(None))
        for on in (False, True, False)
    ]
    assert not torch.allclose(logits[0], logits[1])
    torch.testing.assert_close(logits[0], logits[2])


def test_adapter_at_masks_leaves_visible_tokens_exactly_the_base(
    qwen: Decoder, qwen_with_adapter: Decoder
) -> None:
    """What makes verification of a mask-gated draft free of any loss."""
    from engine.decoding.blocks import block_view

    ids = torch.tensor([150, 100, 151, 100, 100, 152])
    view = block_view(ids, qwen.config)
    visible = [i for i, token in enumerate(ids.tolist()) if token != 100]
    drafted = run_forward(
        Forward("draft", ids.unsqueeze(0), view, draft_adapter=True),
        qwen_with_adapter,
        qwen_with_adapter.new_cache(),
    )
    offsets = torch.tensor(visible)
    plain = run_forward(
        Forward("verify", ids[offsets].unsqueeze(0), "causal", offsets=offsets),
        qwen,
        qwen.new_cache(),
    )
    torch.testing.assert_close(drafted.logits(visible), plain.logits(slice(None)), **TOLERANCE)
    masks = [1, 3, 4]
    off = run_forward(Forward("draft", ids.unsqueeze(0), view), qwen, qwen.new_cache())
    assert not torch.allclose(drafted.logits(masks), off.logits(masks), atol=1e-3)


@pytest.mark.parametrize("adapted", [False, True])
@pytest.mark.parametrize("mode", ["linear_spec", "quad_spec"])
def test_next_position_speculation_is_lossless(
    qwen: Decoder, qwen_with_adapter: Decoder, mode: str, adapted: bool
) -> None:
    decoder = qwen_with_adapter if adapted else qwen
    for seed in range(12):
        prompt = tokens(40, seed)
        expected = decode(decoder, prompt, "ar", max_tokens=40)
        found = decode(decoder, prompt, mode, max_tokens=40)
        assert assert_lossless(decoder, prompt, expected.tokens, found.tokens) == 0
        if mode == "linear_spec":
            # The seed's own row is causal, so the first draft is always right: a cycle of two
            # forwards never emits fewer than two tokens.
            assert found.meter.num_forwards <= expected.meter.num_forwards + 1


def test_next_position_modes_equal_their_slow_references(qwen: Decoder, tmp_path: Path) -> None:
    config = checkpoints.QWEN_CONFIG
    reference = slow.Model(
        network.from_state_dict(checkpoints.qwen_tensors(), config),
        mask_token_id=100,
        eos_token_ids=(2, 11),
        alignment="next_position",
        adapter_scope="masks",
    )
    # The reference takes the mask's own vocabulary row where the engine takes the mean row.
    decoder = dataclasses.replace(qwen, mask_embedding=qwen.embedding[100])
    for seed in range(4):
        prompt = tokens(30, seed)
        for mode, expected in (
            ("linear_spec", slow.linear_spec(reference, prompt, 24, block_size=8)),
            ("quad_spec", slow.quad_spec(reference, prompt, 24, block_size=4)),
        ):
            found = decode(
                decoder,
                prompt,
                mode,
                max_tokens=24,
                block_size=4 if mode == "quad_spec" else 8,
            )
            assert found.tokens == expected.tokens
            assert found.meter.num_forwards == expected.num_forwards


@pytest.mark.parametrize("chunk", [1, 7, 64, 1000])
def test_chunked_prefill_equals_one_pass(tiny: Engine, chunk: int) -> None:
    ids = tokens(150)
    cache = tiny.decoder.new_cache()
    found = run_steps(prefill(ids, cache, chunk), tiny.decoder, cache, Meter(), Limits())
    torch.testing.assert_close(found.logits, causal_logits(tiny.decoder, ids)[-1:], **TOLERANCE)


def test_rows_side_by_side_equal_rows_alone(tiny: Engine) -> None:
    """Candidate rows share the prefix KV and must not see each other or the padding."""
    decoder = tiny.decoder
    cache = decoder.new_cache()
    run_steps(prefill(tokens(50), cache, 64), decoder, cache, Meter(), Limits())
    rows = [[150, 100, 100, 151], [160, 100, 161], [170, 100, 100, 100, 100, 171]]
    ids = torch.zeros(3, 6, dtype=torch.int64)
    view = torch.eye(6, dtype=torch.bool).repeat(3, 1, 1)
    for at, text in enumerate(rows):
        ids[at, : len(text)] = torch.tensor(text)
        view[at, : len(text), : len(text)] = True
    together = run_forward(Forward("denoise", ids, view), decoder, cache)
    for at, text in enumerate(rows):
        alone = run_forward(Forward("denoise", row(text, decoder.device), "full"), decoder, cache)
        torch.testing.assert_close(
            together.logits(slice(0, len(text)), of=at), alone.logits(slice(None)), **TOLERANCE
        )
    assert cache.length == 50


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("num_rows", [1, 8, 33])
def test_packed_linear_equals_plain(dtype: torch.dtype, num_rows: int) -> None:
    problem = packing_problem(dtype)
    if problem is not None:
        pytest.skip(problem)
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(96, 64, generator=generator).to(dtype)
    bias = torch.randn(96, generator=generator).to(dtype)
    x = torch.randn(num_rows, 64, generator=generator).to(dtype)
    tolerance = (
        {"atol": 1e-4, "rtol": 1e-4} if dtype == torch.float32 else {"atol": 0.1, "rtol": 0.02}
    )
    packed, plain = (Linear(weight, bias, packed=choice) for choice in (True, False))
    torch.testing.assert_close(packed(x), plain(x), **tolerance)
    torch.testing.assert_close(plain(x), F.linear(x, weight, bias))


def test_low_rank_touches_only_its_rows() -> None:
    generator = torch.Generator().manual_seed(0)
    linear = Linear(torch.randn(12, 8, generator=generator), None, packed=False)
    x = torch.randn(5, 8, generator=generator)
    base = linear(x)
    down, up = torch.randn(2, 8, generator=generator), torch.randn(12, 2, generator=generator)
    linear.adapter = LowRank(down, up)
    torch.testing.assert_close(linear(x), base)
    rows = torch.tensor([1, 3])
    expected = base.clone()
    expected[rows] += x[rows] @ down.T @ up.T
    torch.testing.assert_close(linear(x, rows), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [slice(2, 5), slice(None), torch.tensor([0, 3])])
def test_packed_low_rank_equals_plain(dtype: torch.dtype, rows: torch.Tensor | slice) -> None:
    problem = packing_problem(dtype)
    if problem is not None:
        pytest.skip(problem)
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(96, 64, generator=generator).to(dtype)
    low = LowRank(
        torch.randn(6, 64, generator=generator).to(dtype),
        torch.randn(96, 6, generator=generator).to(dtype),
    )
    x = torch.randn(7, 64, generator=generator).to(dtype)
    tolerance = (
        {"atol": 1e-3, "rtol": 1e-4} if dtype == torch.float32 else {"atol": 1.0, "rtol": 0.05}
    )
    packed, plain = (Linear(weight, None, packed=choice) for choice in (True, False))
    packed.adapter = plain.adapter = low
    torch.testing.assert_close(packed(x, rows), plain(x, rows), **tolerance)
    assert not torch.allclose(packed(x, rows), packed(x), **tolerance)
    packed.adapter = None
    torch.testing.assert_close(packed(x, rows), packed(x))


def test_packing_falls_back_when_the_self_check_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A CPU without the packed kernels still runs, on torch's own, and says so."""
    monkeypatch.setattr(model_storage, "packing_problem", lambda dtype: "the check failed")
    folder = checkpoints.write_qwen(tmp_path)
    from engine.device import choose_device

    loaded = model_load.load_model(folder, choose_device("cpu", "float32", 1))
    assert any("the check failed" in note for note in loaded.notes)
    monkeypatch.undo()
    ids = tokens(20)
    torch.testing.assert_close(
        causal_logits(loaded.decoder, ids),
        causal_logits(checkpoints.load(folder), ids),
        **TOLERANCE,
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_without_finite_numbers_are_refused(tmp_path: Path, value: float) -> None:
    from safetensors.torch import save_file

    from engine.weights.errors import WeightsError

    folder = checkpoints.write_qwen(tmp_path)
    tensors = checkpoints.qwen_tensors()
    tensors["model.layers.1.mlp.up_proj.weight"][3, 4] = value
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(WeightsError, match="finite"):
        checkpoints.load(folder)


def test_causal_adapter_is_merged_into_every_mode(tmp_path: Path) -> None:
    plain = checkpoints.load(checkpoints.write_qwen(tmp_path / "plain"))
    folder = checkpoints.write_qwen(tmp_path / "merged")
    adapter = checkpoints.write_diffusion_adapter(tmp_path / "adapter", rank=2)
    stored = load_file(adapter / "adapter_model.safetensors")
    merged = checkpoints.load(folder, causal_adapter=adapter)
    ids = tokens(30)
    assert not torch.allclose(causal_logits(plain, ids), causal_logits(merged, ids), atol=1e-3)
    tensors = checkpoints.qwen_tensors()
    for name in list(tensors):
        key = f"base_model.model.{name.removesuffix('.weight')}"
        if f"{key}.lora_A.weight" in stored:
            delta = stored[f"{key}.lora_B.weight"] @ stored[f"{key}.lora_A.weight"]
            # alpha = 2 r
            tensors[name] = tensors[name] + 2.0 * delta
    by_hand = checkpoints.write_qwen(tmp_path / "by_hand")
    from safetensors.torch import save_file

    save_file(tensors, by_hand / "model.safetensors")
    torch.testing.assert_close(
        causal_logits(merged, ids), causal_logits(checkpoints.load(by_hand), ids), **TOLERANCE
    )


def test_vision_checkpoint_loads_its_text_side_and_says_so(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from engine.device import choose_device

    folder = tmp_path / "vlm"
    shutil.copytree(checkpoints.TINY, folder)
    raw = json.loads((folder / "config.json").read_text())
    text = {key: value for key, value in raw.items() if key != "model_type"}
    vlm = {"model_type": "nemotron_labs_diffusion_vlm", "text_config": text, "vision_config": {}}
    (folder / "config.json").write_text(json.dumps(vlm))
    tensors = load_file(folder / "model.safetensors")
    tensors["vision_tower.patch.weight"] = torch.zeros(2, 2)
    tensors["multi_modal_projector.weight"] = torch.zeros(2, 2)
    save_file(tensors, folder / "model.safetensors")
    loaded = model_load.load_model(folder, choose_device("cpu", "float32", 1))
    assert any("vision" in note.lower() for note in loaded.notes)
    ids = tokens(20)
    torch.testing.assert_close(
        causal_logits(loaded.decoder, ids), causal_logits(checkpoints.load(checkpoints.TINY), ids)
    )


@pytest.mark.gpu
def test_cuda_logits_equal_cpu_logits() -> None:
    from engine.device import choose_device

    ids = tokens(200)
    on_gpu = model_load.load_model(checkpoints.TINY, choose_device("cuda", "float32", None)).decoder
    torch.testing.assert_close(
        causal_logits(on_gpu, ids).cpu(),
        causal_logits(checkpoints.load(checkpoints.TINY), ids),
        atol=2e-3,
        rtol=1e-3,
    )
