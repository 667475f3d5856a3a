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
    """mode is never ``auto``."""

    name: RouteName
    method: Method
    mode: Mode
    reason: str


def choose_route(
    asked: Mode,
    hole: Hole,
    config: ModelConfig,
    *,
    has_draft_adapter: bool,
    has_causal_adapter: bool = False,
) -> Route:
    """Route of a request with mode `asked` at `hole`, for a model with `config`.

    has_causal_adapter: the model was trained to end a middle, also that before an empty suffix.
    """
    mode, why = _verified_mode(config, has_draft_adapter)
    if not hole.has_suffix and config.fim is not None and has_causal_adapter:
        return Route(
            "left_to_right",
            "fim_tokens",
            mode if asked == "auto" else asked,
            reason="Nothing but white space stands right of the cursor, and the causal adapter "
            "knows where such a text ends" + (f"; {why}." if asked == "auto" else "."),
        )
    if not hole.has_suffix:
        return Route(
            "left_to_right",
            "prefix_only",
            mode if asked == "auto" else asked,
            reason="Nothing but white space stands right of the cursor"
            + (f"; {why}." if asked == "auto" else "."),
        )
    if config.fim is not None:
        return Route(
            "fim",
            "fim_tokens",
            mode if asked == "auto" else asked,
            reason="Text stands right of the cursor and the model has fill-in-the-middle tokens"
            + (f"; {why}." if asked == "auto" else "."),
        )
    if asked in ("auto", "diffusion"):
        return Route(
            "fim",
            "length_search",
            "diffusion",
            reason="Text stands right of the cursor; the model has no fill-in-the-middle tokens, "
            "so middles of several lengths are denoised and ranked.",
        )
    return Route(
        "left_to_right",
        "prefix_only",
        asked,
        reason=f"The model has no fill-in-the-middle tokens, so mode {asked} sees only the text "
        "left of the cursor and stops where the suffix begins.",
    )


def _verified_mode(config: ModelConfig, has_draft_adapter: bool) -> tuple[Mode, str]:
    """What ``auto`` means where a causal pass judges every token, and why."""
    if config.adapter_scope == "block":
        return "linear_spec", "diffusion drafts a block, a causal pass verifies it"
    if has_draft_adapter:
        return "quad_spec", "one pass verifies a draft and drafts anew behind every outcome"
    return "quad_spec", "no draft adapter is loaded, so drafts are copied from the text around"
