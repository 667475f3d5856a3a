"""StaticPass: a decoder pass with its head and survey, in which nothing depends on the host.

The same as `Decoder.forward`, `logits` and `survey`, its slow twins, at one PassShape. Every shape
and address is fixed and no value is read back, so that a CUDA graph can hold it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from engine.graphs.inputs import PassInputs
from engine.graphs.ops import Ops
from engine.models.decoder import Decoder
from engine.models.linear import Linear, LowRank
from engine.models.survey import Choosable, Survey

_NUM_FIGURES = 5


class PassOutputs:
    """Where a pass of N tokens leaves what it finds: hidden (N, hidden), logits (N, vocab_size) in
    the decoder's dtype, found fp32 (5, N). All passes of a runner share these tensors: what is in
    them holds until the next pass."""

    def __init__(self, decoder: Decoder, max_tokens: int) -> None:
        c = decoder.config
        device, dtype = decoder.device, decoder.dtype
        self.hidden = torch.zeros(max_tokens, c.hidden_size, device=device, dtype=dtype)
        self.logits = torch.zeros(max_tokens, c.vocab_size, device=device, dtype=dtype)
        self.found = torch.zeros(_NUM_FIGURES * max_tokens, device=device)

    def of(self, N: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """hidden, logits and found of a pass of N tokens, each in one piece."""
        found = self.found[: _NUM_FIGURES * N].view(_NUM_FIGURES, N)
        return self.hidden[:N], self.logits[:N], found


def pack_survey(survey: Survey, found: torch.Tensor) -> None:
    """Into fp32 (5, N), which one copy brings to the host: the tokens as the bits of int32."""
    found[0].view(torch.int32).copy_(survey.tokens)
    torch.stack(survey[1:], out=found[1:])


def unpack_survey(found: torch.Tensor) -> Survey:
    """What `pack_survey` has packed, as tensors of its own."""
    found = found.clone()
    return Survey(found[0].view(torch.int32).long(), *found[1:])


class StaticPass:
    """Built for a filled PassInputs; `compute` may be called, or captured and replayed, whenever
    they are filled anew."""

    def __init__(
        self,
        decoder: Decoder,
        ops: Ops,
        choosable: Choosable,
        inputs: PassInputs,
        outputs: PassOutputs,
    ) -> None:
        c, shape = decoder.config, inputs.shape
        self.inputs = inputs
        self.hidden, self.logits, self.found = outputs.of(shape.num_tokens)
        self._decoder, self._ops, self._choosable = decoder, ops, choosable
        self._num_splits = ops.num_splits(decoder, shape)
        size = (shape.R, shape.T, c.num_kv_heads, c.head_dim)
        # One pair for all layers: each is done with before the next writes its own.
        keys = torch.zeros(size, device=decoder.device, dtype=decoder.dtype)
        self._new = keys, torch.zeros_like(keys)
        self._all = torch.ones(shape.num_tokens, dtype=torch.bool, device=decoder.device)

    def compute(self) -> None:
        """The pass over what the inputs hold; reads and writes nothing but fixed addresses."""
        decoder, inputs = self._decoder, self.inputs
        is_mask = inputs.ids == decoder.config.mask_token_id
        x = F.embedding(inputs.ids, decoder.embedding)
        x = torch.where(is_mask.unsqueeze(1), decoder.mask_embedding, x)
        self.hidden.copy_(self._through_layers(x, self._gate(is_mask)))
        self._run_head()
        choosable = self._choosable
        survey = self._ops.survey(self.logits, choosable.penalty, choosable.end_ids)
        pack_survey(survey, self.found)

    def _gate(self, is_mask: torch.Tensor) -> torch.Tensor | None:
        """bool (N,): where the adapter acts; None where it is off."""
        if not (self.inputs.shape.with_adapter and self._decoder.has_draft_adapter):
            return None
        return self._all if self._decoder.config.adapter_scope == "block" else is_mask

    def _through_layers(self, x: torch.Tensor, gate: torch.Tensor | None) -> torch.Tensor:
        """Normed hidden states (N, hidden)."""
        decoder, norm = self._decoder, self._ops.norm
        layers, eps = decoder.layers, decoder.config.norm_eps
        positions = self.inputs.offsets + self.inputs.cache.length
        cos, sin = (each.squeeze(1) for each in decoder.rotary.lookup(positions))
        scale = decoder.rotary.scale_of(positions)
        h, x = norm(x, layers[0].input_norm, eps, None)
        for index, layer in enumerate(layers):
            attended = self._attended(index, self._linear(layer.qkv, h, gate), cos, sin, scale)
            h, x = norm(self._linear(layer.out, attended, gate), layer.post_norm, eps, x)
            inner = self._ops.swiglu(self._linear(layer.gate_up, h, gate))
            # The norm that follows the layer is fused with the sum that ends it.
            is_last = index + 1 == len(layers)
            following = decoder.norm if is_last else layers[index + 1].input_norm
            h, x = norm(self._linear(layer.down, inner, gate), following, eps, x)
        return h

    def _linear(self, linear: Linear, x: torch.Tensor, gate: torch.Tensor | None) -> torch.Tensor:
        y = self._ops.product(linear, x)
        if gate is not None and linear.adapter is not None:
            assert isinstance(linear.adapter, LowRank)
            self._ops.low_rank(x, linear.adapter.down, linear.adapter.up, gate, y)
        return y

    def _attended(
        self,
        layer: int,
        qkv: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        scale: torch.Tensor | None,
    ) -> torch.Tensor:
        """(N, H * D)."""
        shape, at, ops = self.inputs.shape, self.inputs.cache, self._ops
        num_heads = self._decoder.config.num_heads
        q = ops.rope_store(qkv, cos, sin, scale, at, layer, self._new, num_heads)
        q = q.view(shape.R, shape.T, num_heads, -1)
        visible = self.inputs.visible
        return ops.attend(q, at, layer, self._new, visible, self._num_splits).view(
            shape.num_tokens, -1
        )

    def _run_head(self) -> None:
        head = self._decoder.head
        if head.is_plain and head.bias is None:
            torch.mm(self.hidden, head.weight.t(), out=self.logits)
        else:
            self.logits.copy_(self._ops.product(head, self.hidden))
