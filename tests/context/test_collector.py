"""Context of other files: what is found, in which order, and what never is."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pygls.uris import from_fs_path

from engine.messages.completion import CompletionRequest
from nemodiff_lsp.context.collector import SOURCES, ContextCollector, Cursor, Source
from nemodiff_lsp.context.dialects import dialect_of
from nemodiff_lsp.context.imports import imports_of
from nemodiff_lsp.context.outline import outline

STORE = '''"""A store."""

import os

LIMIT = 10


class Store:
    """Keeps items.

    def not_a_method(self): in a docstring
    """

    size: int = 0

    def __init__(self, path: str) -> None:
        self.path = path
        self.items = {}

    @property
    def is_empty(self) -> bool:
        return not self.items

    def add(
        self,
        name: str,
        value: int,
    ) -> None:
        self.items[name] = value
        self.size += 1


def open_store(path, *, create=False):
    if create:
        os.makedirs(path)
    one = 1
    two = 2
    three = 3
    return Store(path)


def unrelated():
    return 1
'''


def uri_of(path: Path) -> str:
    uri = from_fs_path(str(path))
    assert uri is not None
    return uri


class Workspace:
    """Files on the disk and open documents, and the collector over them."""

    def __init__(self, folder: Path, sources: Collection[Source] = SOURCES) -> None:
        self.folder = folder
        self.open: dict[str, list[str]] = {}
        self.refused: set[str] = set()
        self.collector = ContextCollector(
            [folder],
            is_allowed=lambda uri, text: not any(name in uri for name in self.refused),
            lines_of=self.open.get,
            sources=sources,
            # A busy machine may need longer for the first look than a user should wait.
            patience_s=30.0,
        )

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return path

    def show(self, path: Path, text: str, language_id: str = "python") -> str:
        uri = uri_of(path)
        self.open[uri] = text.splitlines(keepends=True)
        self.collector.opened(uri, language_id)
        return uri

    async def ask(
        self, name: str, text: str, *, max_chars: int = 4000, language_id: str = "python"
    ) -> dict[str, str]:
        uri = self.show(self.folder / name, text, language_id)
        found = await self.collector.snippets(Cursor(uri, language_id, text), max_chars=max_chars)
        return {each.path: each.text for each in found}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


async def test_signatures_behind_an_import(workspace: Workspace) -> None:
    workspace.write("shop/__init__.py", "")
    workspace.write("shop/store.py", STORE)
    found = await workspace.ask("shop/app.py", "from shop.store import Store\n\nstore = Store(")
    text = found["shop/store.py"]
    assert "class Store:" in text and "def __init__(self, path: str) -> None:" in text
    assert "        value: int,\n    ) -> None:" in text, "a signature over several lines"
    assert "size: int = 0" in text
    assert "self.items = {}" not in text and "unrelated" not in text
    assert "not_a_method" not in text and "os.makedirs" not in text


@pytest.mark.parametrize(
    "statement",
    [
        "from .store import open_store",
        "from .store import (\n    Store,  # the class\n    open_store,\n)",
        "from shop.store import open_store as opened",
        "from shop import store\n\nstore.open_store",
        "import shop.store\n\nshop.store.open_store(1)",
        "import shop.store as kept\n\nkept.open_store(1)",
        "from shop.store import *",
        "from shop import open_store",
        "from . import open_store",
    ],
)
async def test_every_form_of_a_python_import(workspace: Workspace, statement: str) -> None:
    workspace.write("shop/__init__.py", "from shop.store import Store, open_store\n")
    workspace.write("shop/store.py", STORE)
    found = await workspace.ask("shop/app.py", statement + "\n")
    assert "def open_store(path, *, create=False):\n    ..." in found["shop/store.py"]


async def test_a_package_below_src_and_one_above_the_file(workspace: Workspace) -> None:
    workspace.write("src/shop/__init__.py", "")
    workspace.write("src/shop/store.py", STORE)
    workspace.write("src/shop/deep/__init__.py", "")
    found = await workspace.ask("src/shop/deep/app.py", "from shop.store import Store\n")
    assert list(found) == ["src/shop/store.py"]
    again = await workspace.ask("tests/test_it.py", "from shop.store import Store\n")
    assert next(iter(again)) == "src/shop/store.py"


SCRIPT = """export interface Item {
  name: string;
  price: number;
}

export async function load(path: string): Promise<Item[]> {
  const text = await read(path);
  const rows = text.split("\\n");
  const items = rows.map(parse);
  check(items);
  log(items);
  return items;
}

export class Cart {
  private items: Item[] = [];

  add(item: Item): void {
    this.items.push(item);
  }

  total(): number {
    return this.items.reduce((sum, item) => sum + item.price, 0);
  }
}
"""


@pytest.mark.parametrize(
    ("statement", "wanted", "unwanted"),
    [
        ("import { Cart } from './cart';", "add(item: Item): void {", "interface Item"),
        ("import { load, type Item } from './cart.js'", "async function load(", "class Cart"),
        ("import * as cart from './cart'\ncart.load()", "async function load(", "class Cart"),
        ("const { Cart } = require('./cart')", "class Cart {", "this.items.push"),
        ('export { Cart } from "./cart"', "class Cart {", "this.items.push"),
    ],
)
async def test_scripts(workspace: Workspace, statement: str, wanted: str, unwanted: str) -> None:
    workspace.write("web/cart.ts", SCRIPT)
    found = await workspace.ask("web/app.ts", statement + "\n", language_id="typescript")
    assert wanted in found["web/cart.ts"] and unwanted not in found["web/cart.ts"]


async def test_rust(workspace: Workspace) -> None:
    workspace.write("Cargo.toml", "[package]\nname = 'shop'\n")
    workspace.write(
        "src/store.rs",
        "pub struct Store {\n    pub path: String,\n}\n\nimpl Store {\n"
        "    pub fn open(path: &str) -> Self {\n        todo()\n    }\n\n"
        "    pub fn add(&mut self, name: &str) {\n        one();\n"
        "        two();\n    }\n}\n\nfn hidden() {}\n",
    )
    found = await workspace.ask("src/main.rs", "use crate::store::Store;\n", language_id="rust")
    text = found["src/store.rs"]
    assert "pub struct Store {" in text and "pub fn open(path: &str) -> Self {" in text
    assert "hidden" not in text and "one();" not in text


async def test_go(workspace: Workspace) -> None:
    workspace.write("go.mod", "module example.org/shop\n\ngo 1.22\n")
    workspace.write(
        "store/store.go",
        "package store\n\ntype Store struct {\n\tPath string\n}\n\n"
        "func Open(path string) *Store {\n"
        "\tone()\n\ttwo()\n\tthree()\n\tfour()\n\tfive()\n\treturn nil\n}\n\n"
        "func (s *Store) Add(name string) error {\n\treturn nil\n}\n\nfunc hidden() {}\n",
    )
    text = 'package main\n\nimport (\n\t"fmt"\n\t"example.org/shop/store"\n)\n\nvar s = store.Open('
    found = await workspace.ask("main.go", text, language_id="go")
    assert "func Open(path string) *Store {" in found["store/store.go"]
    assert "hidden" not in found["store/store.go"]


async def test_an_open_document_counts_as_the_user_sees_it(workspace: Workspace) -> None:
    path = workspace.write("store.py", STORE)
    workspace.show(path, "def renamed(first):\n    return first\n")
    found = await workspace.ask("app.py", "from store import renamed, Store\n")
    assert "renamed" in found["store.py"] and "class Store" not in found["store.py"]


async def test_what_the_policy_refuses_is_never_shown(workspace: Workspace) -> None:
    path = workspace.write("secret_store.py", STORE)
    uri = workspace.show(path, STORE)
    workspace.collector.touched(uri, 10)
    assert await workspace.ask("app.py", "from secret_store import Store\n" + STORE)
    workspace.refused.add("secret_store")
    text = "from secret_store import Store, LIMIT\n" + STORE
    assert "secret_store.py" not in await workspace.ask("other.py", text)


async def test_regions_are_newest_first_and_never_of_the_document_itself(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, ["recent"])
    lines = [f"line_{number} = {number}\n" for number in range(100)]
    first = workspace.show(tmp_path / "a.py", "".join(lines))
    second = workspace.show(tmp_path / "b.py", "".join(lines))
    workspace.collector.touched(first, 50)
    workspace.collector.touched(second, 5)
    workspace.collector.touched(first, 55)
    found = await workspace.ask("c.py", "x = 1\n")
    assert list(found) == ["a.py", "b.py"]
    assert "line_55 = 55" in found["a.py"] and "line_70" not in found["a.py"]
    own = await workspace.ask("a.py", "".join(lines))
    assert list(own) == ["b.py"]
    workspace.collector.closed(second)
    assert list(await workspace.ask("c.py", "x = 1\n")) == ["a.py"]


async def test_the_likest_window_of_an_open_document(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, ["neighbours"])
    filler = "".join(f"other_{number} = {number}\n" for number in range(60))
    alike = "def read_config(path, default):\n    parser = ConfigParser()\n    parser.read(path)\n"
    workspace.show(tmp_path / "a.py", filler + alike + filler)
    workspace.show(tmp_path / "b.py", filler)
    workspace.show(tmp_path / "c.ts", alike, "typescript")
    near = "def read_settings(path, default):\n    parser = ConfigParser()\n    parser."
    found = await workspace.ask("d.py", near)
    assert list(found) == ["a.py"] and "parser.read(path)" in found["a.py"]


async def test_the_budget_holds_and_whole_lines_stay(workspace: Workspace) -> None:
    workspace.write("store.py", STORE)
    found = await workspace.ask("app.py", "from store import Store, open_store\n", max_chars=150)
    assert sum(len(path) + len(text) for path, text in found.items()) <= 150
    assert all(line in STORE.split("\n") for line in found["store.py"].split("\n"))
    assert await workspace.ask("app.py", "from store import Store\n", max_chars=10) == {}


async def test_no_sources_no_context(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, [])
    workspace.write("store.py", STORE)
    assert await workspace.ask("app.py", "from store import Store\n") == {}


@given(
    st.text(alphabet="importfrmuse {}()*,;.'\"\n\tdefclass:\\xé", max_size=200),
    st.sampled_from(["python", "typescript", "rust", "go"]),
)
def test_any_text_can_be_read(text: str, language_id: str) -> None:
    dialect = dialect_of(language_id, "")
    assert dialect is not None
    for each in imports_of(text, dialect):
        assert each.names is None or all(each.names)
    known = {line.rstrip() for line in text.split("\n")} | {"    ...", ""}
    for line in outline(text, None, dialect).split("\n"):
        assert line in known or len(line) == 160


async def test_half_a_character_in_another_file_costs_no_request(workspace: Workspace) -> None:
    """Editors can hold half a surrogate pair, which is not text: UTF-8 cannot carry it."""
    store = STORE.replace("LIMIT = 10", 'LIMIT = "\ud83d"').replace("name: str", 'name: "\udc00"')
    path = workspace.write("store.py", STORE)
    uri = workspace.show(path, store)
    workspace.collector.touched(uri, 4)
    text = (
        "import os\nfrom store import Store  # \ud83d\n\nclass Store:\n    size: int = 0\n    def "
    )
    own = workspace.show(workspace.folder / "app.py", text)
    found = await workspace.collector.snippets(Cursor(own, "python", text), max_chars=4000)
    assert found
    request = CompletionRequest(prompt="x", context=found).to_json()
    assert "\ufffd" in json.dumps(request, ensure_ascii=False).encode("utf-8").decode("utf-8")
    texts = "\n".join(each.text for each in found)
    assert 'LIMIT = "\ufffd"' in texts, "the region that was touched"
    assert 'name: "\ufffd"' in texts, "the definition behind the import"
