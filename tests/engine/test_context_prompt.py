"""Context of other files in the prompt: its form, its budget, and that typing leaves it alone."""

from __future__ import annotations

import json
import tempfile
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config import EngineConfig
from engine.engine import Engine
from engine.infill.context import NO_LEAD, ContextWriter, comment_marks
from engine.infill.hole import Hole
from engine.infill.prompt import Prompt, PromptBuilder
from engine.infill.route import Route, choose_route
from engine.messages.completion import CompletionRequest, Snippet
from engine.models.config import ModelConfig, read_model_config
from engine.tokenizer import CodeTokenizer
from tests.models import checkpoints
from tests.models.checkpoints import TINY
from tests.tiny_model import language

PLAIN = CodeTokenizer(TINY / "tokenizer.json")
REPOSITORY, FILE = 30, 31
HOLE = Hole("def first():\n    return total(", ")\n\nprint(first())\n")
PIECES = (
    Snippet("lib/total.py", "def total(values):\n    return sum(values)\n"),
    Snippet("lib/other.py", "OTHER = 1\n\n\ndef other():\n    return OTHER\n"),
)


@pytest.fixture(scope="module")
def repo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose tokenizer has repository tokens, under ids that spell nothing."""
    folder = checkpoints.write_qwen(tmp_path_factory.mktemp("repo"))
    path = folder / "tokenizer.json"
    raw = json.loads(path.read_text(encoding="utf-8"))
    taken = {REPOSITORY: "<|repo_name|>", FILE: "<|file_sep|>"}
    kept = [token for token in raw["added_tokens"] if token["id"] not in taken]
    template = dict(raw["added_tokens"][0])
    for token_id, spelling in taken.items():
        old = next((t["content"] for t in raw["added_tokens"] if t["id"] == token_id), None)
        if old is not None:
            raw["model"]["vocab"].pop(old, None)
        raw["model"]["vocab"][spelling] = token_id
        kept.append({**template, "id": token_id, "content": spelling})
    raw["added_tokens"] = kept
    path.write_text(json.dumps(raw), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def repo(repo_folder: Path) -> CodeTokenizer:
    return CodeTokenizer(repo_folder / "tokenizer.json")


def builder(tokenizer: CodeTokenizer, *, fim: bool = True, tokens: int = 200) -> PromptBuilder:
    config = read_model_config(TINY / "config.json")
    if fim:
        config = _fim_config()
    return PromptBuilder(
        tokenizer,
        config,
        max_prefix_tokens=256,
        max_suffix_tokens=64,
        max_context_tokens=tokens,
    )


@cache
def _fim_config() -> ModelConfig:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.json"
        path.write_text(json.dumps(checkpoints.QWEN_CONFIG))
        return read_model_config(path)


def files_in(tokens: list[int], tokenizer: CodeTokenizer) -> list[str]:
    """The texts between the tokens that open a file, behind the opening one."""
    parts: list[list[int]] = [[]]
    for token in tokens[1:]:
        if token == FILE:
            parts.append([])
        else:
            parts[-1].append(token)
    return [tokenizer.decode_bytes(part).decode() for part in parts]


def route(*, fim: bool = True) -> Route:
    config = _fim_config() if fim else read_model_config(TINY / "config.json")
    return choose_route("ar", HOLE, config, has_draft_adapter=False)


def build(
    prompts: PromptBuilder, hole: Hole = HOLE, document: str | None = None, **context: object
) -> Prompt:
    return prompts.build(hole, route(), document, **context)  # type: ignore[arg-type]


def test_special_tokens_are_found_by_their_spelling(repo: CodeTokenizer) -> None:
    assert repo.special_id("<|repo_name|>") == REPOSITORY
    assert PLAIN.special_id("<|repo_name|>") is None
    # Spelt out in a file they stay text.
    assert FILE not in repo.encode("a <|file_sep|> b")


def test_repository_tokens_hold_the_files_best_next_to_the_own(repo: CodeTokenizer) -> None:
    found = build(builder(repo), context=PIECES, path="app/first.py").context
    plain = build(builder(repo)).context
    assert found[-len(plain) :] == plain
    lead = found[: -len(plain)]
    assert (lead[0], lead.count(REPOSITORY), lead.count(FILE)) == (REPOSITORY, 1, 3)
    texts = files_in(lead, repo)
    assert texts == [
        "project\n",
        "lib/other.py\nOTHER = 1\n\n\ndef other():\n    return OTHER\n",
        "lib/total.py\ndef total(values):\n    return sum(values)\n",
        "app/first.py\n",
    ]


@pytest.mark.parametrize(
    ("path", "opening", "closing"),
    [
        ("a.py", "# ", ""),
        ("src/Main.java", "// ", ""),
        ("x.lua", "-- ", ""),
        ("init.el", "; ", ""),
        ("page.html", "<!-- ", " -->"),
        ("style.css", "/* ", " */"),
        ("Makefile", "# ", ""),
        ("thesis.tex", "% ", ""),
        ("folder\\file.ts", "// ", ""),
        ("no_suffix_at_all", "# ", ""),
    ],
)
def test_without_such_tokens_pieces_are_comments(path: str, opening: str, closing: str) -> None:
    assert comment_marks(path) == (opening, closing)
    prompts, text = builder(PLAIN), Snippet("o.x", "one\n\n  two\n")
    found = build(prompts, context=(text,), path=path).context
    plain = build(builder(PLAIN)).context
    # Inside the prefix, whose own text follows unchanged.
    start = len(PLAIN.bos_ids) + 1
    assert found[:start] == plain[:start]
    lead = PLAIN.decode(found[start : len(found) - len(plain) + start])
    blank = f"{opening}{closing}".rstrip()
    assert lead == (
        f"{opening}o.x:{closing}\n{opening}one{closing}\n{blank}\n{opening}  two{closing}\n"
    )
    assert found[len(found) - len(plain) + start :] == plain[start:]


def test_no_context_is_the_same_prompt_as_ever(repo: CodeTokenizer) -> None:
    for tokenizer in (repo, PLAIN):
        for fim in (True, False):
            plain = PromptBuilder(
                tokenizer,
                _fim_config() if fim else read_model_config(TINY / "config.json"),
                max_prefix_tokens=256,
                max_suffix_tokens=64,
            )
            for prompts in (builder(tokenizer, fim=fim), builder(tokenizer, fim=fim, tokens=0)):
                expected = plain.build(HOLE, route(fim=fim), None)
                assert prompts.build(HOLE, route(fim=fim), None, (), "a.py") == expected
                empty = (Snippet("a.py", ""), Snippet("b.py", "\n \n"))
                assert prompts.build(HOLE, route(fim=fim), None, empty, "a.py") == expected
            off = builder(tokenizer, fim=fim, tokens=0)
            assert off.build(HOLE, route(fim=fim), None, PIECES, "a.py") == expected


LINES = st.lists(st.text("ab (=é漢🙂\t", max_size=30), max_size=8).map("\n".join)


@given(
    pieces=st.lists(st.builds(Snippet, st.text("ab/. é", max_size=40), LINES), max_size=5),
    max_tokens=st.integers(0, 120),
    path=st.none() | st.text("ab/.py", max_size=12),
)
def test_the_budget_holds_and_lines_stay_whole(
    repo: CodeTokenizer, pieces: list[Snippet], max_tokens: int, path: str | None
) -> None:
    for tokenizer in (repo, PLAIN):
        lead = ContextWriter(tokenizer, max_tokens).write(pieces, path)
        assert len(lead.before) + len(lead.inside) <= max_tokens
        assert not (lead.before and lead.inside)
        written = tokenizer.decode_bytes(lead.before or lead.inside)
        assert not written or written.endswith(b"\n")
    # Every line of a piece that is shown is a line of that piece.
    lead = ContextWriter(repo, max_tokens).write(pieces, path)
    if lead.before:
        files = files_in(lead.before, repo)[1:-1]
        known = [each.text.strip("\n").rstrip().split("\n") for each in pieces]
        for file in files:
            shown = file.removesuffix("\n").split("\n")[1:]
            assert any(lines[: len(shown)] == shown for lines in known)


def test_what_does_not_fit_is_cut_at_a_line_end_or_left_out(repo: CodeTokenizer) -> None:
    long = Snippet("long.py", "".join(f"value_{i} = {i}\n" for i in range(200)))
    cut = ContextWriter(repo, 60).write((long,), "a.py").before
    text = repo.decode_bytes(cut).decode()
    lines = text.split("\n")
    shown = [line for line in lines if line.startswith("value_")]
    assert shown == [f"value_{i} = {i}" for i in range(len(shown))] and len(shown) >= 2
    one_line = Snippet("wide.py", "x = " + " + ".join(["alpha"] * 200))
    small = Snippet("s.py", "y = 1\nz = 2\n")
    both = repo.decode_bytes(ContextWriter(repo, 60).write((one_line, small), "a.py").before)
    assert b"alpha" not in both and b"y = 1\nz = 2\n" in both
    assert ContextWriter(repo, 60).write((one_line,), "a.py") == NO_LEAD


@pytest.mark.parametrize("fim", [True, False])
def test_typing_keeps_the_context_it_began_with(repo: CodeTokenizer, fim: bool) -> None:
    prompts = builder(repo, fim=fim)
    text = "def first():\n    return total(values)\n"
    suffix = "\nprint(first())\n"
    way = route(fim=fim)
    first = prompts.build(Hole(text[:24], suffix), way, "d", PIECES, "a.py")
    num_kept = len(first.context)
    for cut in range(25, 34):
        changed = (Snippet("new.py", f"NEW = {cut}\n"),)
        for context in (changed, ()):
            found = prompts.build(Hole(text[:cut], suffix), way, "d", context, "a.py")
            # Append-only, but for the tokens that the typed characters grow into.
            assert found.context[: num_kept - 4] == first.context[: num_kept - 4]
    # A jump is a new anchor: it takes what is there now.
    jumped = prompts.build(
        Hole(text[:8], suffix), way, "d", (Snippet("n.py", "NEW = 1\n"),), "a.py"
    )
    assert b"NEW = 1" in repo.decode_bytes(jumped.context)
    assert b"def total" not in repo.decode_bytes(jumped.context)
    # Another document, and no document at all, have no part in it.
    for document in ("other", None):
        fresh = prompts.build(Hole(text[:26], suffix), way, document)
        assert b"def total" not in repo.decode_bytes(fresh.context)


def test_changed_context_costs_no_prefill_while_typing(repo_folder: Path) -> None:
    engine = Engine.load(
        EngineConfig(model=str(repo_folder), device="cpu", dtype="float32", num_threads=1)
    )
    assert engine.describe()["max_context_tokens"] == 512
    text = next(iter(language.documents(5, held_out=True))).text
    request = CompletionRequest(
        prompt=text[:50], suffix=text[80:], document="d", max_tokens=2, context=PIECES, path="a.py"
    )
    first = engine.complete(request)
    for cut in range(51, 60):
        found = engine.complete(
            CompletionRequest(
                prompt=text[:cut],
                suffix=text[80:],
                document="d",
                max_tokens=2,
                context=(Snippet("n.py", f"N = {cut}\n"),),
                path="a.py",
            )
        )
        assert found.prompt_tokens - found.facts.cached_tokens <= 5
        assert found.facts.cached_tokens >= first.prompt_tokens - 5
    engine.prefix_cache.check_integrity()


def test_long_and_odd_paths_take_one_line(repo: CodeTokenizer) -> None:
    odd = Snippet("a/" * 400 + "new\nline <|file_sep|>.py", "x = 1\ny = 2\n")
    lead = ContextWriter(repo, 300).write((odd,), "b\r\nc.py")
    assert lead.before.count(FILE) == 2
    text = repo.decode_bytes(lead.before).decode()
    assert "new line" in text and text.endswith("b c.py\n") and len(text) < 300
