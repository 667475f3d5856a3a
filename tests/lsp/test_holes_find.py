"""Where the holes of a document are: marked sources, one a rule, and properties of any text."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemodiff_lsp.holes.find import find_holes, holes_at, may_hold_holes
from nemodiff_lsp.holes.hole import MAX_HOLES, Hole
from nemodiff_lsp.holes.pieces import asked_holes, fillings_of, pieces_around

# Each source has its holes in ⟦⟧.
PYTHON = {
    "body": "def f(x):\n    ⟦...⟧\n",
    "body_on_the_line": "def f(x):⟦ ...⟧\n",
    "statement_among_others": "def f(x):\n    y = 1\n    ⟦...⟧\n    return y\n",
    "value": "def f(x):\n    total = ⟦...⟧\n    return total\n",
    "returned": "def f(x):\n    return ⟦...⟧\n",
    "slice": "y = x[..., 1]\nz = x[\n    ...\n]\n",
    "type": "y: Tuple[int, ...] = ()\ndef f(x: Tuple[int, ...]): return x\n",
    "argument": "field = Field(..., gt=0)\nother = Field(\n    ...,\n    gt=0,\n)\n",
    "default": "def f(x=...): return x\n",
    "annotated_default": "class A:\n    x: int = ...\n",
    "overload": "@overload\ndef f(x: int) -> int: ...\n@typing.overload\ndef f(x):\n    ...\n",
    "abstract": "class A:\n    @abstractmethod\n    def f(self): raise NotImplementedError\n",
    "protocol": "class A(Protocol):\n    def f(self) -> int: ...\n",
    "generic_protocol": "class A(Protocol[T]):\n    def f(self) -> int:\n        ...\n",
    "empty_class": "class Problem(Exception): ...\nclass Other(Exception):\n    ...\n",
    "method": "class A:\n    def f(self):\n        ⟦...⟧\n",
    "class_with_todo": "class A:\n    ⟦# TODO: two fields\n    ...⟧\n",
    "pass_alone": "def f():\n    pass\n",
    "pass_with_todo": "def f():\n    ⟦pass  # TODO⟧\n",
    "pass_under_todo": "def f():\n    ⟦# TODO: sort\n    # by name\n    pass⟧\n",
    "pass_on_the_line": "if x:⟦ pass  # FIXME⟧\nelse: pass\n",
    "todo_body": "def f():\n    ⟦# TODO: everything⟧\n\ndef g():\n    return 1\n",
    "todo_below_docstring": 'def f():\n    """Doc.\n\n    More.\n    """\n    ⟦# TODO⟧\n',
    "todo_among_others": "def f():\n    # TODO: faster\n    return 1\n",
    "todo_of_the_file": "# TODO: write tests\nimport os\n",
    "raise": "def f():\n    ⟦raise NotImplementedError⟧\n",
    "raise_with_message": "def f():\n    ⟦raise NotImplementedError('not yet')⟧\n",
    "raise_over_lines": 'def f():\n    ⟦raise NotImplementedError(\n        "later"\n    )⟧\n',
    "other_raise": "def f():\n    raise ValueError('...')\n",
    "marker": "x = foo(⟦__⟧, key=⟦__⟧)\nreturn ⟦__⟧ + 1\n",
    "marker_names": "for _, __ in pairs:\n    pass\n__, b = pair\n__init__ = x.__class__\n",
    "marker_called": "print(__('text'))\n",
    "string": 'x = "... TODO __"\ny = """\n...\n# TODO\n"""\n',
    "comment": "x = 1  # use ... or __ here\n",
    "described": "def f():\n    ⟦...  # the mean of all⟧\n",
    "not_ascii": "größe = '…'\ndef f(ä):\n    ⟦...⟧\nx = 'ß' + ⟦__⟧\n",
}
RUST = {
    "macros": 'fn a() -> u8 { ⟦todo!()⟧ }\nfn b() {\n    ⟦unimplemented!("x {}", f(1));⟧\n}\n',
    "value": "fn c() { let x: u8 = ⟦todo!()⟧; }\n",
    "names": 'fn d() { let __ = 1; let s = "todo!()"; let x = ⟦__⟧; }\n',
    "comment_body": "fn e() {\n    ⟦// TODO: read the file⟧\n}\n",
    "block_comment": "fn f() -> u8 { ⟦/* TODO */⟧ }\n",
}
JAVASCRIPT = {
    "comment_body": "function a() {\n  ⟦// TODO: sum the list⟧\n}\n",
    "inline": "function b(x) { return ⟦/* TODO: area */⟧; }\n",
    "thrown": 'const c = () => { ⟦throw new Error("not implemented")⟧; };\n',
    "thrown_line": 'function d() {\n  ⟦throw new Error("Not implemented yet");⟧\n}\n',
    "other_thrown": 'function d() {\n  throw new Error("bad input");\n}\n',
    "ellipsis": "function e() { ⟦...⟧ }\nfunction f() {\n  ⟦...⟧\n}\n",
    "spread": "const r = f(...args);\nconst o = { ...r };\nconst l = [\n  ...r,\n];\n",
    "marker": "const q = __('text') + ⟦__⟧;\n",
}
OTHERS = [
    ("kotlin", 'fun a(): Int = ⟦TODO()⟧\nfun b() {\n    ⟦TODO("later")⟧\n}\n'),
    ("scala", "def f: Int = ⟦???⟧\n"),
    ("go", 'func A() {\n\t⟦panic("not implemented")⟧\n}\nfunc B() { panic("boom") }\n'),
    ("csharp", "int A() {\n    ⟦throw new NotImplementedException();⟧\n}\n"),
    ("java", 'int a() {\n  ⟦throw new UnsupportedOperationException("Not implemented");⟧\n}\n'),
    ("lua", "function f()\n  ⟦-- TODO: read it⟧\nend\n"),
    ("ruby", "def f\n  ⟦# TODO⟧\nend\n"),
    ("yaml", "a:\n  # TODO\n...\n"),
    ("markdown", "TODO\n\n...\n\n__bold__ __\n"),
    ("json", '{"a": "TODO"}\n'),
]


def cases() -> list[tuple[str, str]]:
    known = (("python", PYTHON), ("rust", RUST), ("javascript", JAVASCRIPT))
    own = [(language, source) for language, table in known for source in table.values()]
    return own + OTHERS


def unmarked(source: str) -> tuple[str, list[tuple[int, int]]]:
    places: list[tuple[int, int]] = []
    text = ""
    for char in source:
        if char == "⟦":
            places.append((len(text), len(text)))
        elif char == "⟧":
            places[-1] = (places[-1][0], len(text))
        else:
            text += char
    return text, places


def places_of(holes: list[Hole]) -> list[tuple[int, int]]:
    return [(hole.start, hole.end) for hole in holes]


@pytest.mark.parametrize(("language", "source"), cases())
def test_the_holes_are_those_that_are_marked(language: str, source: str) -> None:
    text, places = unmarked(source)
    assert places_of(find_holes(text, language_id=language)) == places


@pytest.mark.parametrize(("language", "source"), cases())
def test_the_quick_question_never_overlooks_one(language: str, source: str) -> None:
    text, places = unmarked(source)
    assert may_hold_holes(text) or not places


def test_stub_files_have_none() -> None:
    text = "def f() -> int: ...\n"
    assert find_holes(text, language_id="python", path="a.pyi") == []
    assert len(find_holes(text, language_id="python", path="a.py")) == 1


def test_python_without_its_grammar_goes_by_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nemodiff_lsp.holes.source._grammar", lambda *_: None)
    for name in ("body", "slice", "type", "argument", "empty_class", "raise", "marker_names"):
        text, places = unmarked(PYTHON[name])
        assert places_of(find_holes(text, language_id="python")) == places, name


def test_only_the_range_counts_and_an_empty_one_means_its_line() -> None:
    text = "def f():\n    ...\n\ndef g():\n    ...\n"
    first, second = find_holes(text, language_id="python")
    assert find_holes(text, language_id="python", start=0, end=12) == []
    assert find_holes(text, language_id="python", start=0, end=14) == [first]
    at = text.rindex("...")
    assert find_holes(text, language_id="python", start=at - 2, end=at - 2) == [second]
    assert find_holes(text, language_id="python", start=at + 4, end=at + 4) == []


def test_a_range_inside_a_run_takes_all_of_it() -> None:
    text, (place,) = unmarked(PYTHON["pass_under_todo"])
    at = text.index("by name")
    assert places_of(find_holes(text, language_id="python", start=at, end=at)) == [place]


def test_what_a_comment_says_goes_in_front() -> None:
    text = "def f():\n    # TODO(ann): sort\n    # by name\n    pass  # noqa\n"
    (hole,) = find_holes(text, language_id="python")
    assert hole.lead == "# sort\n    # by name\n    "
    (bare,) = find_holes("def f():\n    # TODO: implement this\n", language_id="python")
    assert bare.lead == ""
    (inline,) = find_holes("return /* TODO: area */;", language_id="c")
    assert inline.lead == "/* area */ "
    (line,) = find_holes("class A:\n\tx = 1\ndef f(): ...  # the sum\n", language_id="python")
    assert line.lead == "\n\t# the sum\n\t"


def test_a_long_document_is_read_around_the_range() -> None:
    filler = "def filler(x):\n    return [x, (x)]\n\n" * 12_000
    text = filler + "def f(x):\n    ...\n\n" + filler
    at = text.index("...")
    (hole,) = find_holes(text, language_id="python", start=at, end=at + 1)
    assert places_of([hole]) == [(at, at + 3)]


def test_tab_stops_only_when_asked() -> None:
    text, places = unmarked(
        "for ⟦${1:item}⟧ in ⟦$2⟧:\n    print(⟦$1⟧, '\\$3', ⟦${4|a,b|}⟧)\n    ⟦$0⟧\n"
    )
    assert find_holes(text, language_id="python") == []
    holes = find_holes(text, language_id="python", with_tab_stops=True)
    assert places_of(holes) == places
    assert [hole.group for hole in holes] == ["1", "2", "1", "4", "0"]
    assert [hole.default for hole in holes] == ["item", "", "", "a", ""]
    nested = find_holes("${1:f(${2:x})} ${3:open", language_id="c", with_tab_stops=True)
    assert [(hole.start, hole.end, hole.default) for hole in nested] == [(0, 14, "f(${2:x})")]


def test_holes_of_a_group_get_one_text() -> None:
    text = "for $1 in $2: print($1)"
    holes = find_holes(text, language_id="python", with_tab_stops=True)
    assert len(asked_holes(holes)) == 2
    pieces = pieces_around(text, holes, max_prefix_chars=100, max_suffix_chars=100)
    assert pieces == ("for ", " in ", ": print()")
    fillings = fillings_of(holes, ["x", ""])
    assert [filling.text for filling in fillings] == ["x", None, "x"]


def test_cursors_are_holes_in_order_and_once() -> None:
    assert places_of(holes_at([7, 3, 7])) == [(3, 3), (7, 7)]


def test_there_are_never_too_many() -> None:
    text = "def f(): ...\n" * 200 + "x = __\n" * 200
    assert len(find_holes(text, language_id="python")) == MAX_HOLES
    assert len(holes_at(range(500))) == MAX_HOLES


def test_text_far_from_the_holes_is_left_out_at_line_ends() -> None:
    middle = "".join(f"line {number}\n" for number in range(100))
    text = middle + "__\n" + middle + "__\n" + middle
    holes = find_holes(text, language_id="c")
    first, between, last = pieces_around(text, holes, max_prefix_chars=50, max_suffix_chars=30)
    assert first == "line 94\nline 95\nline 96\nline 97\nline 98\nline 99\n"
    assert between.startswith("\nline 0\n") and between.endswith("line 99\n")
    assert len(between) <= 80 and "line 50" not in between
    assert last.startswith("\nline 0\n") and len(last) <= 30


_PARTS = (
    *("...", "__", "# TODO", "// TODO: x", "/* TODO */", "pass", "def f():", "class A:", "\n"),
    *("\n    ", "\n\t", "raise NotImplementedError", "todo!()", "(", ")", "{", "}", '"', "'"),
    *('"""', "x = ", ", ", "$1", "${2:a}", "}", "ä", "😀", " ", "@overload\n", "TODO(1)"),
)
CODE = st.lists(st.sampled_from(_PARTS), max_size=40).map("".join)
LANGUAGES = st.sampled_from(["python", "rust", "javascript", "go", "c", "yaml", "unknown", None])


@given(text=CODE | st.text(max_size=80), language=LANGUAGES, data=st.data())
def test_any_text_gives_holes_in_order_that_can_be_cut_out(
    text: str, language: str | None, data: st.DataObject
) -> None:
    text = text.replace("\r", "")
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    holes = find_holes(
        text, language_id=language, start=start, end=end, with_tab_stops=data.draw(st.booleans())
    )
    for hole in holes:
        assert 0 <= hole.start < hole.end <= len(text)
    for left, right in pairwise(holes):
        assert left.end <= right.start
    everywhere = find_holes(text, language_id=language)
    assert may_hold_holes(text) or not everywhere
    if not everywhere:
        return
    # Put back what each hole replaces, and the text is whole again.
    single = [Hole(hole.start, hole.end, hole.kind) for hole in everywhere]
    pieces = pieces_around(text, single, max_prefix_chars=9999, max_suffix_chars=9999)
    cut_out = [text[hole.start : hole.end] for hole in single]
    assert len(pieces) == len(single) + 1
    assert "".join(p + c for p, c in zip(pieces, [*cut_out, ""], strict=True)) == text
