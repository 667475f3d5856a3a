"""Route: fill-in-the-middle or left to right, by which method and in which mode, and why.

Called by `engine.engine` for each request; knows the text and the model, but runs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from engine.infill.hole import Hole
from engine.messages.completion import Mode
from engine.models.config import ModelConfig

RouteName = Literal["fim", "left_to_right"]
Method = Literal["fim_tokens", "length_search", "prefix_only"]


@dataclass(frozen=True, slots=True)
class Route:
    """mode is never ``auto``. is_verified: a causal pass judges what the block drafts."""

    name: RouteName
    method: Method
    mode: Mode
    is_verified: bool
    reason: str


def choose_route(asked: Mode, hole: Hole, config: ModelConfig) -> Route:
    """Route of a request with mode `asked` at `hole`, for a model with `config`."""
    if not hole.has_suffix:
        return Route(
            "left_to_right",
            "prefix_only",
            "linear_spec" if asked == "auto" else asked,
            is_verified=asked != "diffusion",
            reason="Nothing but white space stands right of the cursor.",
        )
    if config.fim is not None:
        return Route(
            "fim",
            "fim_tokens",
            "diffusion" if asked == "auto" else asked,
            is_verified=asked != "diffusion",
            reason="Text stands right of the cursor and the model has fill-in-the-middle tokens"
            + (": diffusion proposes, a causal pass verifies." if asked == "auto" else "."),
        )
    if asked in ("auto", "diffusion"):
        return Route(
            "fim",
            "length_search",
            "diffusion",
            is_verified=False,
            reason="Text stands right of the cursor; the model has no fill-in-the-middle tokens, "
            "so middles of several lengths are denoised and ranked.",
        )
    return Route(
        "left_to_right",
        "prefix_only",
        asked,
        is_verified=True,
        reason=f"The model has no fill-in-the-middle tokens, so mode {asked} sees only the text "
        "left of the cursor and stops where the suffix begins.",
    )
