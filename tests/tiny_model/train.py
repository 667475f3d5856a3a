"""Trains the tiny model and its drafting LoRA, and writes the checkpoint folder.

Run by hand: ``OMP_NUM_THREADS=1 python -m tests.tiny_model.train``. Objective: model.md's joint
loss, L_AR + alpha * L_diff over ``[noisy | clean]``, divided once by all counted tokens.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from tests.tiny_model import CHECKPOINT
from tests.tiny_model.build_tokenizer import build_tokenizer
from tests.tiny_model.corruption import Batch, batches, noisy_mask
from tests.tiny_model.model import CONFIG, LORA_ALPHA, LORA_RANK, DualStreamModel, Layer

logger = logging.getLogger("train")

WINDOW_TOKENS = 192
NUM_ROWS = 10
ALPHA = 0.5
MATRIX_LR, OTHER_LR, LORA_LR = 1e-2, 4e-3, 3e-3
NUM_WARMUP_STEPS = 40
# The last part of the run over which the rate falls to zero (warm-up, stable, decay).
DECAY_SHARE = 0.35


def dual_logits(model: DualStreamModel, batch: Batch) -> tuple[Tensor, Tensor]:
    """Logits of the noisy and of the clean half, (B, L, vocab) each, fp32."""
    tokens = torch.cat((batch.noisy, batch.clean), 1)
    positions = torch.cat((batch.positions, batch.positions), 1)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(tokens, positions, noisy_mask(batch.blocks))
    noisy, clean = logits.float().chunk(2, 1)
    return noisy, clean


def joint_loss(model: DualStreamModel, batch: Batch) -> tuple[Tensor, float, float]:
    """The loss, and for the log the plain means of its two cross entropies."""
    noisy, clean = dual_logits(model, batch)
    ar = functional.cross_entropy(clean[:, :-1].flatten(0, 1), batch.clean[:, 1:].flatten())
    per_slot = functional.cross_entropy(
        noisy.flatten(0, 1), batch.clean.flatten(), reduction="none"
    )
    weights = batch.weights.flatten()
    num_masks, num_labels = int((weights > 0).sum()), batch.clean[:, 1:].numel()
    total = ar * num_labels + ALPHA * (per_slot * weights).sum()
    plain = (per_slot * (weights > 0)).sum().item() / num_masks
    return total / (num_masks + num_labels), ar.item(), plain


def draft_loss(model: DualStreamModel, batch: Batch) -> tuple[Tensor, float]:
    """Cross entropy of each draft slot against the verifier's argmax, over the slots up to and
    including the first where the text itself leaves the verifier's path; and the hit rate."""
    noisy, clean = dual_logits(model, batch)
    choice = clean.detach().argmax(-1).roll(1, 1)
    off_path = (choice != batch.clean) & (batch.weights > 0)
    # Number of departures before each slot since its block's start.
    before = off_path.cumsum(1) - off_path.long()
    seed_index = torch.where(batch.seeds, torch.arange(before.shape[1]), 0).cummax(1).values
    counted = (before == before.gather(1, seed_index)) & (batch.weights > 0)
    loss = functional.cross_entropy(noisy[counted], choice[counted])
    return loss, (noisy.argmax(-1) == choice)[counted].float().mean().item()


def schedule(step: int, num_steps: int) -> float:
    """Learning-rate factor: linear warm-up, plateau, linear decay over DECAY_SHARE."""
    return min((step + 1) / NUM_WARMUP_STEPS, 1.0, (1 - step / num_steps) / DECAY_SHARE)


def train_base(model: DualStreamModel, data: Iterator[Batch], num_steps: int) -> None:
    """Joint training: Muon on the layers' matrices, AdamW on the rest."""
    named = dict(model.named_parameters())
    matrices = [p for n, p in named.items() if p.ndim == 2 and ".layers." in n]
    others = [p for n, p in named.items() if not (p.ndim == 2 and ".layers." in n)]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.Muon(matrices, lr=MATRIX_LR, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=OTHER_LR, betas=(0.9, 0.98), weight_decay=0.0),
    ]
    for step in range(num_steps):
        for optimizer, rate in zip(optimizers, (MATRIX_LR, OTHER_LR), strict=True):
            optimizer.param_groups[0]["lr"] = rate * schedule(step, num_steps)
        loss, ar, diffusion = joint_loss(model, next(data))
        model.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        if step % 50 == 0:
            logger.info("step %d of %d: AR %.3f, masks %.3f", step, num_steps, ar, diffusion)


def train_lora(model: DualStreamModel, data: Iterator[Batch], num_steps: int) -> dict[str, Tensor]:
    """Freeze the model, train o_proj's LoRA as drafter; the adapter's tensors by PEFT key."""
    model.requires_grad_(False)
    tensors: dict[str, Tensor] = {}
    for index, layer in enumerate(model.encoder.layers):
        assert isinstance(layer, Layer)
        projection = layer.self_attn.o_proj
        down = torch.randn(LORA_RANK, projection.in_features) * projection.in_features**-0.5
        up = torch.zeros(projection.out_features, LORA_RANK)
        layer.self_attn.lora = (down.requires_grad_(), up.requires_grad_())
        key = f"base_model.model.encoder.layers.{index}.self_attn.o_proj.lora_"
        tensors |= {f"{key}A.weight": down, f"{key}B.weight": up}
    optimizer = torch.optim.AdamW(list(tensors.values()), lr=LORA_LR, weight_decay=0.0)
    for step in range(num_steps):
        optimizer.param_groups[0]["lr"] = LORA_LR * schedule(step, num_steps)
        loss, hits = draft_loss(model, next(data))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 0:
            logger.info("LoRA step %d: loss %.3f, hits %.3f", step, loss.item(), hits)
    return {key: tensor.detach() for key, tensor in tensors.items()}


def write_base(model: DualStreamModel, folder: Path) -> None:
    """config.json and model.safetensors (bf16)."""
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    tensors = {k: v.detach().bfloat16().contiguous() for k, v in model.state_dict().items()}
    path = folder / "model.safetensors"
    save_file(tensors, path, metadata={"format": "pt"})
    path.chmod(0o644)


def write_lora(tensors: dict[str, Tensor], folder: Path) -> None:
    """linear_spec_lora in PEFT's layout (fp32, as in the released checkpoints)."""
    folder.mkdir(exist_ok=True)
    described = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": LORA_RANK,
        "lora_alpha": LORA_ALPHA,
        "lora_dropout": 0.0,
        "target_modules": ["o_proj"],
        "bias": "none",
        "fan_in_fan_out": False,
        "use_rslora": False,
        "inference_mode": True,
    }
    (folder / "adapter_config.json").write_text(json.dumps(described, indent=2) + "\n")
    contiguous = {key: tensor.contiguous() for key, tensor in tensors.items()}
    path = folder / "adapter_model.safetensors"
    save_file(contiguous, path, metadata={"format": "pt"})
    path.chmod(0o644)


def main() -> None:
    """Train both parts and write the checkpoint folder."""
    parser = argparse.ArgumentParser(description="Train the tiny model of the test suite.")
    parser.add_argument("--steps", type=int, default=1800, help="of joint training")
    parser.add_argument("--lora-steps", type=int, default=300, help="of drafter training")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.manual_seed(options.seed)
    CHECKPOINT.mkdir(parents=True, exist_ok=True)
    # First, because the language is read through the checkpoint's own tokenizer.
    build_tokenizer(CHECKPOINT)
    model = DualStreamModel()
    shape = {"num_rows": NUM_ROWS, "num_tokens": WINDOW_TOKENS}
    train_base(model, batches(options.seed, **shape, drafts=False), options.steps)
    write_base(model, CHECKPOINT)
    # The drafter is trained on the weights that are shipped, that is after rounding to bf16.
    model.to(torch.bfloat16).float()
    drafts = batches(options.seed + 1, **shape, drafts=True)
    write_lora(train_lora(model, drafts, options.lora_steps), CHECKPOINT / "linear_spec_lora")


if __name__ == "__main__":
    main()
