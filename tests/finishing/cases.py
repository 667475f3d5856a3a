"""The golden table: what finishing makes of a model's text at a cursor, language by language."""

from __future__ import annotations

from dataclasses import dataclass

# Stands for the cursor in `Case.document`.
CURSOR = "▮"


@dataclass(frozen=True, slots=True)
class Case:
    """expected: the text to show; empty where nothing may be shown."""

    name: str
    language_id: str
    document: str
    text: str
    expected: str
    is_invoked: bool = False
    is_draft: bool = False
    tab_size: int | None = None
    insert_spaces: bool | None = None


PYTHON = (
    Case("whole statement", "python", "def f(a):\n    return ▮\n", "a + 1", "a + 1"),
    Case("auto-closed bracket", "python", "print(▮)\n", "x)", "x"),
    Case("nested auto-closed", "python", "print(len(▮))\n", "xs))", "xs"),
    Case("bracket that is needed", "python", "print(len(▮)\n", "xs)", "xs)"),
    Case("balanced call stays", "python", "print(▮)\n", "len(xs)", "len(xs)"),
    Case("closes and opens again", "python", "x = (f(▮))\n", "a) + g(b", "a) + g(b"),
    Case("auto-closed quote", "python", 'print("hello ▮")\n', 'world")', "world"),
    Case("quotes that balance", "python", 'f("a▮")\n', 'b", "c', 'b", "c'),
    Case("rest of the line again", "python", "if x ▮ and ready:\n", "> 0 and ready:", "> 0"),
    Case("colon at the end", "python", "if ▮:\n    pass\n", "x is None:", "x is None"),
    Case(
        "block of a header",
        "python",
        "def f(x):▮\n",
        "\n    return x\n\n\ndef g():\n    pass\n",
        "\n    return x",
    ),
    Case(
        "next statement is not asked for",
        "python",
        "def f():\n    x = 1▮\n    return x\n",
        "\n    y = 2",
        "",
    ),
    Case(
        "next statement on demand",
        "python",
        "def f():\n    x = 1▮\n    return x\n",
        "\n    y = 2",
        "\n    y = 2",
        is_invoked=True,
    ),
    Case(
        "body of a function on an empty line",
        "python",
        "def f(xs):\n    ▮\n",
        "total = 0\n    for x in xs:\n        total += x\n    return total\n\ndef g():\n",
        "total = 0\n    for x in xs:\n        total += x\n    return total",
    ),
    Case(
        "first definition only at the top",
        "python",
        "import os\n\n▮\n",
        "def f():\n    return 1\n\n\ndef g():\n    return 2\n",
        "def f():\n    return 1",
    ),
    Case(
        "comment behind a statement",
        "python",
        "def f():\n    if x: return []▮\n    return y\n",
        "  # nothing to do\n    y = 2",
        "  # nothing to do",
    ),
    Case(
        "one method at a time",
        "python",
        "class A:\n    ▮\n",
        "def f(self):\n        x = 1\n\n        return x\n\n    def g(self):\n        pass",
        "def f(self):\n        x = 1\n\n        return x",
    ),
    Case(
        "several methods on demand",
        "python",
        "class A:\n    ▮\n",
        "def f(self):\n        return 1\n\n    def g(self):\n        pass",
        "def f(self):\n        return 1\n\n    def g(self):\n        pass",
        is_invoked=True,
    ),
    Case(
        "statement over several lines",
        "python",
        "x = ▮\n",
        "[\n    1,\n    2,\n]\ny = 3\n",
        "[\n    1,\n    2,\n]",
    ),
    Case(
        "if with its else",
        "python",
        "def f(x):\n    if ▮\n",
        "x:\n        return 1\n    else:\n        return 2\n    print(x)\n",
        "x:\n        return 1\n    else:\n        return 2",
    ),
    Case(
        "line below again",
        "python",
        "def f(x):\n    ▮\n    return compute(x)\n",
        "x = normalise(x)\n    return compute(x)",
        "x = normalise(x)",
    ),
    Case(
        "nothing but the line below",
        "python",
        "def f(x):\n    ▮\n    return compute(x)\n",
        "return compute(x)",
        "",
    ),
    Case(
        "nothing but the line above",
        "python",
        "def f(x):\n    value = compute(x)\n    ▮\n",
        "value = compute(x)",
        "",
    ),
    Case(
        "dedented again is another line",
        "python",
        "def f(a, b):\n    if a:\n        if b:\n            return None\n        ▮\n",
        "return None",
        "return None",
    ),
    Case("a loop", "python", "def f():\n    ▮\n", "print(value)\n    " * 5, ""),
    Case(
        "a loop behind something",
        "python",
        "def f():\n    ▮\n",
        "value = 1\n" + "    print(value)\n" * 4,
        "value = 1",
    ),
    Case("a loop in a line", "python", "x = ▮\n", "abc def " * 9, ""),
    Case("typed again", "python", "def f(x):\n    return fo▮\n", "return foo(x)", "o(x)"),
    Case(
        "indentation again",
        "python",
        "def f():\n    ▮\n",
        "    x = 1\n    return x",
        "x = 1\n    return x",
    ),
    Case(
        "written from column 0",
        "python",
        "class A:\n    def f(self, x):\n        ▮\n",
        "if x:\n    return 1\nreturn 2",
        "if x:\n            return 1\n        return 2",
    ),
    Case(
        "tabs in a buffer of spaces",
        "python",
        "def f(x):\n    ▮\n",
        "if x:\n\t\treturn 1",
        "if x:\n        return 1",
    ),
    Case("broken syntax", "python", "x = 1\n▮\n", "y = = 3", ""),
    Case("broken, but asked for", "python", "x = 1\n▮\n", "y = = 3", "y = = 3", is_invoked=True),
    Case(
        "broken tail",
        "python",
        "def f():\n    ▮\n",
        "a = 1\n    b = 2\n    c = call(a,",
        "a = 1\n    b = 2",
    ),
    Case("half a word of a draft", "python", "x = ▮\n", "value.met", "value.", is_draft=True),
    Case("a draft of half a word", "python", "x = ▮\n", "val", "", is_draft=True),
    Case("whole line inserted", "python", "▮x = 1\n", "import os\n", "import os\n"),
    Case(
        "a draft that would be glued",
        "python",
        "def f():\n    ▮x = 1\n",
        "y = call(2) ",
        "",
        is_draft=True,
    ),
    Case("blank", "python", "x = ▮\n", " \n\t\n", ""),
    Case("control characters", "python", "x = ▮\n", "1\x00\x07\x1b[31m", "1"),
    Case("carriage returns", "python", "def f():▮\n", "\r\n    return 1\r\n", "\n    return 1"),
    Case("comment to its end", "python", "# Sum ▮\nx = 1\n", "of all\ny = 2", "of all"),
    Case(
        "docstring's paragraph",
        "python",
        'def f():\n    """▮\n    """\n',
        "Return one.\n\n    And more.",
        "Return one.",
    ),
)

SCRIPT = (
    Case(
        "auto-closed braces",
        "typescript",
        "function f() {▮}\n",
        "\n  return 1;\n}\n\nfunction g() {",
        "\n  return 1;\n",
    ),
    Case("auto-closed call", "typescript", "foo(▮);\n", "a, b);", "a, b"),
    Case("call and comment", "javascript", "foo(▮)\n", "a) // all", "a"),
    Case("semicolon", "javascript", "const x = ▮;\n", "5;", "5"),
    Case(
        "arrow function to its end",
        "javascript",
        "const f = ▮\n",
        "(x) => {\n  return x;\n};\nconst y = 2;",
        "(x) => {\n  return x;\n};",
    ),
    Case(
        "text right of the cursor keeps one line",
        "typescript",
        "run(▮)\n",
        "() => {\n  go();\n}",
        "",
    ),
    Case(
        "chain",
        "javascript",
        "const p = load▮\n",
        "(x)\n  .then(f)\n  .catch(g);\nnext();",
        "(x)\n  .then(f)\n  .catch(g);",
    ),
    Case(
        "two columns a level",
        "javascript",
        "function a() {\n  if (x) {\n    b();\n  }\n}\nfunction c() {\n  d();\n}\n▮\n",
        "function e() {\n    f();\n}",
        "function e() {\n  f();\n}",
    ),
    Case(
        "closes only its own block",
        "typescript",
        "class A {\n  f() {\n    ▮\n  }\n}\n",
        "return 1;\n  }\n\n  g() {\n    return 2;\n  }",
        "return 1;",
    ),
    Case(
        "missing brace is written",
        "javascript",
        "function f() {\n  ▮\n",
        "return 1;\n}\n\nfunction g() {}",
        "return 1;\n}",
    ),
    Case("quote", "typescript", "import x from '▮';\n", "./x';", "./x"),
    Case("tsx", "typescriptreact", "const a = <div>{▮}</div>;\n", "name}</div>;", "name"),
    Case("template string", "javascript", "log(`a ${▮}`)\n", "b}`)", "b"),
    Case("unknown language id", "javascript.mjs", "foo(▮)\n", "a)", "a"),
    Case("one sign", "typescript", "const x = 1\n▮\n", "/", ""),
)

BRACES = (
    Case("rust argument", "rust", "fn f() {\n    g(▮);\n}\n", "&x);", "&x"),
    Case(
        "rust lifetime is no quote",
        "rust",
        "fn f<'a>(x: &'a str) -> &'a str {\n    ▮\n}\n",
        "x.trim()\n}\n\nfn g() {}",
        "x.trim()",
    ),
    Case(
        "rust match arm",
        "rust",
        "fn f(x: u8) -> u8 {\n    match x {\n        0 => ▮\n    }\n}\n",
        "1,\n        _ => 2,",
        "1,",
    ),
    Case(
        "rust chain",
        "rust",
        "fn f(x: &[u8]) -> u8 {\n    let y = x▮\n    y\n}\n",
        ".iter()\n        .sum();\n    y",
        ".iter()\n        .sum();",
    ),
    Case(
        "rust character",
        "rust",
        "fn f() {\n    let c = ▮\n}\n",
        "'(';\n    let d = 1;",
        "'(';",
    ),
    Case(
        "go error check",
        "go",
        "package a\n\nfunc f() error {\n\terr := g()\n\t▮\n\treturn nil\n}\n",
        "if err != nil {\n\t\treturn err\n\t}\n\treturn nil\n}",
        "if err != nil {\n\t\treturn err\n\t}",
    ),
    Case(
        "spaces in a buffer of tabs",
        "go",
        "package a\n\nfunc f() error {\n\terr := g()\n\t▮\n\treturn nil\n}\n",
        "if err != nil {\n        return err\n    }",
        "if err != nil {\n\t\treturn err\n\t}",
    ),
    Case(
        "go function body",
        "go",
        "package a\n\nfunc f(x int) int {▮\n",
        "\n\treturn x\n}\n\nfunc g() {}\n",
        "\n\treturn x\n}",
    ),
    Case("go string", "go", 'package a\n\nvar x = "▮"\n', 'abc"\nvar y = 1', "abc"),
    Case(
        "go brace that would stay open",
        "go",
        "package a\n\nfunc f() {\n\t▮\n}\n",
        "g()\n\tfor i := range xs {\n\t\th(i",
        "g()",
    ),
    Case("c argument", "c", "int main(void) {\n  printf(▮);\n}\n", '"%d\\n", x);', '"%d\\n", x'),
    Case(
        "c loop",
        "c",
        "int f(int n) {\n    int s = 0;\n    ▮\n    return s;\n}\n",
        "for (int i = 0; i < n; i++) {\n        s += i;\n    }\n    return s;",
        "for (int i = 0; i < n; i++) {\n        s += i;\n    }",
    ),
    Case(
        "c character",
        "c",
        "int f(int c) {\n    return ▮\n}\n",
        "c == '}';\n}\n\nint g(void) {",
        "c == '}';",
    ),
    Case(
        "cpp member",
        "cpp",
        "class A {\n public:\n  int x() const { return ▮ }\n};\n",
        "x_; }",
        "x_;",
    ),
    Case(
        "java statement",
        "java",
        "class A {\n    int f(int x) {\n        return ▮\n    }\n}\n",
        "x + 1;\n    }\n\n    int g() {",
        "x + 1;",
    ),
    Case(
        "java broken",
        "java",
        "class A {\n    void f() {\n        ▮\n    }\n}\n",
        "int x 5 6;",
        "",
    ),
    Case(
        "java string",
        "java",
        'class A {\n    String s = "▮";\n}\n',
        'abc";\n    int x;',
        "abc",
    ),
    Case(
        "lua function",
        "lua",
        "local function f(x)▮\n",
        "\n  return x\nend\n\nlocal y = 1",
        "\n  return x\nend",
    ),
)

DATA = (
    Case("json pair", "json", '{\n  "a": ▮\n}\n', "1,", "1"),
    Case("json string", "json", '{\n  "name": "▮"\n}\n', 'nemo",\n  "x": 1', "nemo"),
    Case(
        "json pairs in an object",
        "json",
        '{\n  "a": 1,\n  ▮\n}\n',
        '"b": 2,\n  "c": {\n    "d": 3\n  }\n}',
        '"b": 2,\n  "c": {\n    "d": 3\n  }',
    ),
    Case("json broken", "json", '{\n  "a": [▮]\n}\n', "1 2 3", ""),
    Case("yaml value", "yaml", "name: nemo\nversion: ▮\n", "1.0\nother: 2", "1.0"),
    Case(
        "yaml mapping",
        "yaml",
        "jobs:\n  test:▮\n",
        "\n    runs-on: ubuntu\n  build:\n    x: 1",
        "\n    runs-on: ubuntu",
    ),
    Case(
        "yaml apostrophe",
        "yaml",
        "a: it's fine\nb: ▮\n",
        "[1, 2]\nc: 3",
        "[1, 2]",
    ),
    Case(
        "makefile keeps its tabs",
        "makefile",
        "all:\n    x\n▮\n",
        "clean:\n\trm -f a",
        "clean:\n\trm -f a",
    ),
)

PROSE = (
    Case("markdown sentence", "markdown", "It is ▮\n", "fine.\nMore (of it", "fine."),
    Case(
        "markdown paragraph",
        "markdown",
        "# Title\n\n▮\n",
        "One line\nand one.\n\nAnother.",
        "One line\nand one.",
    ),
    Case("plain text apostrophe", "plaintext", "I don't ▮\n", "know (yet", "know (yet"),
    Case("plain text tail", "plaintext", "see ▮ below\n", "the table below", "the table"),
    Case("prose below again", "markdown", "One.\n▮\nThe last line.\n", "The last line.", ""),
    Case("no language", "", "call(▮)\n", "a, b)", "a, b"),
    Case(
        "no language, next statement",
        "",
        "let x = 1▮\nlet y = 2\n",
        "\nlet z = 3",
        "",
    ),
    Case(
        "no language, block",
        "",
        "fun f() {▮\n",
        "\n    return 1\n}\n\nfun g() {\n}",
        "\n    return 1\n}",
    ),
)

CASES = (*PYTHON, *SCRIPT, *BRACES, *DATA, *PROSE)
