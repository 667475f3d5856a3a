"""The reference itself: its network against transformers, its modes against plain `ar`."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.reference import modes, network
from tests.tiny_model import CHECKPOINT, language, measure

QWEN_CONFIG: dict[str, Any] = {
    "model_type": "qwen2",
    "vocab_size": 97,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-6,
    "rope_theta": 5000.0,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
}
MASK_TOKEN_ID, EOS_TOKEN_ID = 96, 95


@pytest.fixture(autouse=True)
def _no_gradients() -> Any:
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def tiny() -> modes.Model:
    return measure.load_model()


@pytest.fixture(scope="module")
def qwen() -> Any:
    """A random Qwen2 of transformers with every parameter away from its neutral value."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(5)
    model = Qwen2ForCausalLM(Qwen2Config(**QWEN_CONFIG)).eval().float()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3 + ("norm" in name))
    return model


def next_position_model(qwen: Any, scope: modes.AdapterScope) -> modes.Model:
    """The random Qwen2 with a random adapter on every linear layer, drafting the next position."""
    generator = torch.Generator().manual_seed(6)
    lora = {}
    for name, weight in qwen.model.state_dict().items():
        if name.endswith("proj.weight"):
            down = torch.randn(4, weight.shape[1], generator=generator) * 0.1
            up = torch.randn(weight.shape[0], 4, generator=generator) * 0.1
            lora[name.removesuffix(".weight")] = network.Lora(down, up, 2.0)
    return modes.Model(
        network.from_state_dict(qwen.state_dict(), QWEN_CONFIG, lora),
        mask_token_id=MASK_TOKEN_ID,
        eos_token_ids=(EOS_TOKEN_ID,),
        alignment="next_position",
        adapter_scope=scope,
    )


def some_tokens(num: int, seed: int, vocab_size: int = MASK_TOKEN_ID) -> Tensor:
    return torch.randint(0, vocab_size, (num,), generator=torch.Generator().manual_seed(seed))


def test_qwen2_logits_are_those_of_transformers(qwen: Any) -> None:
    own = network.from_state_dict(qwen.state_dict(), QWEN_CONFIG)
    tokens = some_tokens(41, 1)
    theirs = qwen(tokens[None]).logits[0]
    ours = network.forward(own, tokens, torch.arange(41), modes.causal_view(41))
    assert "layers.0.self_attn.q_proj.bias" in own.weights
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=1e-4)


def test_qwen2_follows_any_mask_and_any_positions(qwen: Any) -> None:
    own = network.from_state_dict(qwen.state_dict(), QWEN_CONFIG)
    tokens, positions = some_tokens(20, 2), torch.randint(0, 300, (20,))
    mask = (torch.rand(20, 20) < 0.4) | torch.eye(20, dtype=torch.bool)
    added = torch.zeros(20, 20).masked_fill(~mask, float("-inf"))[None, None]
    theirs = qwen(tokens[None], attention_mask=added, position_ids=positions[None]).logits[0]
    ours = network.forward(own, tokens, positions, mask)
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=1e-4)


def test_nemotron_logits_are_those_of_transformers_ministral3(tiny: modes.Model) -> None:
    """Ministral3 is the parent architecture: YaRN, Llama-4 query scale, head_dim of its own. The
    positions reach far beyond the original context, where both are at work."""
    from safetensors.torch import load_file
    from transformers import Ministral3Config, Ministral3ForCausalLM

    known = dict(tiny.network.config)
    for key in ("model_type", "architectures", "dtype", "attn_implementation"):
        known.pop(key)
    theirs = Ministral3ForCausalLM(Ministral3Config(**known)).eval().float()
    state = load_file(CHECKPOINT / "model.safetensors")
    renamed = {
        name.replace("encoder.", "model.").replace("diffusion_head.", "lm_head."): tensor.float()
        for name, tensor in state.items()
    }
    theirs.load_state_dict(renamed, strict=True)
    tokens, positions = some_tokens(60, 3, 600), torch.arange(60) * 17 + 300
    # Given no mask, transformers takes a jump in the positions for the start of another text.
    added = torch.zeros(60, 60).masked_fill(~modes.causal_view(60), float("-inf"))[None, None]
    expected = theirs(tokens[None], attention_mask=added, position_ids=positions[None]).logits[0]
    ours = network.forward(tiny.network, tokens, positions, modes.causal_view(60))
    torch.testing.assert_close(ours, expected, atol=2e-4, rtol=1e-4)
    near = network.forward(tiny.network, tokens, torch.arange(60), modes.causal_view(60))
    assert (near - ours).abs().max() > 0.1


@pytest.mark.parametrize(
    ("head_dim", "theta", "factor", "original"),
    [
        (128, 1e6, 16.0, 16384),
        (128, 1e9, 16.0, 16384),
        (128, 1e6, 0.25, 16384),
        (32, 1e3, 16.0, 128),
    ],
)
def test_yarn_frequencies_are_those_of_transformers(
    head_dim: int, theta: float, factor: float, original: int
) -> None:
    from transformers import Ministral3Config
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    rope = {
        "rope_type": "yarn",
        "rope_theta": theta,
        "factor": factor,
        "original_max_position_embeddings": original,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
    }
    theirs_config = Ministral3Config(head_dim=head_dim, rope_parameters=dict(rope))
    expected, multiplier = ROPE_INIT_FUNCTIONS["yarn"](theirs_config, None)
    ours = network.inverse_frequencies({"head_dim": head_dim, "rope_parameters": rope})
    assert multiplier == 1.0
    torch.testing.assert_close(ours, expected, atol=0, rtol=2e-6)


def test_query_scale_is_that_of_transformers(tiny: modes.Model) -> None:
    from transformers.models.ministral3.modeling_ministral3 import get_llama_4_attn_scale

    positions = torch.tensor([0, 127, 128, 255, 256, 1000, 2047])
    expected = get_llama_4_attn_scale(positions[None], 0.1, 128).flatten()
    torch.testing.assert_close(network.query_scale(tiny.network.config, positions), expected)
    assert expected[1] == 1.0
    assert expected[2] > 1.06


def test_adapter_acts_on_the_chosen_rows_alone(tiny: modes.Model) -> None:
    """One layer's worth: the last row sees the others only through rows that are not adapted, so
    it may change only when it is itself adapted."""
    tokens, positions = some_tokens(12, 4, 600), torch.arange(12)
    alone = torch.eye(12, dtype=torch.bool)
    plain = network.forward(tiny.network, tokens, positions, alone)
    rows = positions % 3 == 0
    adapted = network.forward(tiny.network, tokens, positions, alone, rows)
    changed = (adapted - plain).abs().amax(-1) > 1e-3
    assert torch.equal(changed, rows)


@pytest.mark.parametrize("block_size", [1, 2, 8, 16, 32])
def test_linear_spec_equals_ar(tiny: modes.Model, block_size: int) -> None:
    for case in language.continuations(21, 8):
        prompt = language.encode(case.prompt)
        plain = modes.ar(tiny, prompt, 48)
        spec = modes.linear_spec(tiny, prompt, 48, block_size=block_size)
        assert (spec.tokens, spec.is_ended) == (plain.tokens, plain.is_ended)


@pytest.mark.parametrize("block_size", [1, 2, 5, 8])
def test_quad_spec_equals_ar(tiny: modes.Model, block_size: int) -> None:
    for case in language.continuations(22, 6):
        prompt = language.encode(case.prompt)
        plain = modes.ar(tiny, prompt, 40)
        quad = modes.quad_spec(tiny, prompt, 40, block_size=block_size)
        assert (quad.tokens, quad.is_ended) == (plain.tokens, plain.is_ended)


@pytest.mark.parametrize("scope", ["block", "masks"])
def test_next_position_modes_equal_ar(qwen: Any, scope: modes.AdapterScope) -> None:
    model = next_position_model(qwen, scope)
    for seed in range(6):
        prompt = some_tokens(9, seed, EOS_TOKEN_ID).tolist()
        plain = modes.ar(model, prompt, 24)
        for block_size in (2, 3, 8):
            spec = modes.linear_spec(model, prompt, 24, block_size=block_size)
            quad = modes.quad_spec(model, prompt, 24, block_size=block_size)
            assert spec.tokens == quad.tokens == plain.tokens


def test_next_position_cycle_emits_two_tokens_even_untrained(qwen: Any) -> None:
    """With an adapter at masks only, the first draft is the base model's own next token."""
    model = next_position_model(qwen, "masks")
    out = modes.linear_spec(model, some_tokens(9, 1, EOS_TOKEN_ID).tolist(), 25, block_size=8)
    assert not out.is_ended
    assert min(out.emitted_per_cycle) >= 2
    assert out.num_forwards == 2 * len(out.emitted_per_cycle)


def test_visible_rows_of_a_masks_scope_block_are_causal(qwen: Any) -> None:
    model = next_position_model(qwen, "masks")
    context, block = [3, 1, 4], [1, MASK_TOKEN_ID, 5, MASK_TOKEN_ID, 9]
    logits = modes.block_logits(model, context, block, (), adapter=True)
    alone = modes.causal_logits(model, [*context, 1])[-1]
    torch.testing.assert_close(logits[0], alone)
    # The last slot of a next-position block predicts nothing inside it and has no row.
    assert logits.shape[0] == len(block) - 1


def test_quad_pass_first_tokens_are_a_causal_verify(tiny: modes.Model) -> None:
    case = language.continuations(23, 1)[0]
    tokens = language.encode(case.prompt)
    context, drafts = tokens[:-4], tokens[-4:]
    logits = modes.quad_pass(tiny, context, drafts, 5)[:, 0]
    torch.testing.assert_close(logits, modes.causal_logits(tiny, tokens)[-4:], atol=1e-4, rtol=1e-4)


def test_diffusion_commits_and_counts(tiny: modes.Model) -> None:
    """threshold 1.1: one commit a pass, so passes = masks + one per further block. threshold 0:
    one pass fills a block. A step budget of 2 needs two."""
    prompt = language.encode(language.continuations(24, 1)[0].prompt)[:40]
    never_ends = modes.Model(tiny.network, eos_token_ids=())

    def num_forwards(threshold: float, max_steps: int | None = None) -> int:
        out = modes.diffusion(
            never_ends, prompt, 16, block_size=8, threshold=threshold, max_steps=max_steps
        )
        assert len(out.tokens) == 16
        return out.num_forwards

    # 8 emitted by seed + 7 masks, causal pass, 8 more.
    assert num_forwards(1.1) == 7 + 1 + 7
    assert num_forwards(0.0) == 1 + 1 + 1
    assert num_forwards(1.1, max_steps=2) == 2 + 1 + 2


def test_mask_is_never_chosen(tiny: modes.Model) -> None:
    logits = torch.zeros(2, 640)
    logits[:, tiny.mask_token_id] = 9.0
    logits[1, 7] = 1.0
    assert modes.best_tokens(tiny, logits)[1] == 7
    assert tiny.mask_token_id not in modes.best_tokens(tiny, logits)
