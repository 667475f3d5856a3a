"""Languages: what the rules of finishing must know of each, one row a language.

Read by `scan.py` (comments and quotes), `syntax.py` (grammar and statements) and `units.py`. A
language without a row, or without a grammar, is finished by indentation and brackets alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from nemodiff_lsp.finishing.place import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """ids: the protocol's language ids; endings: of file names, for editors that send other ids.

    grammar: module and function of the tree-sitter grammar. containers: node types whose named
    children are statements (or list entries, pairs, members). quotes end at the line's end,
    long_quotes do not; has_char_literals: ``'`` encloses one character or marks a lifetime.
    is_prose: no brackets, no quotes; a blank line ends the unit.
    """

    name: str
    ids: tuple[str, ...]
    endings: tuple[str, ...] = ()
    grammar: tuple[str, str] | None = None
    containers: frozenset[str] = frozenset()
    line_comments: tuple[str, ...] = ()
    has_block_comments: bool = False
    quotes: str = "\"'"
    long_quotes: tuple[str, ...] = ()
    has_char_literals: bool = False
    is_prose: bool = False
    keeps_tabs: bool = False


_SCRIPT_CONTAINERS = frozenset(
    {"program", "statement_block", "class_body", "switch_body", "object", "array"}
    | {"interface_body", "object_type", "enum_body", "statement"}
)
_C_CONTAINERS = frozenset(
    {"translation_unit", "compound_statement", "field_declaration_list", "declaration_list"}
    | {"enumerator_list", "initializer_list"}
)
_SLASHES = ("//",)

_ROWS = (
    Language(
        name="python",
        ids=("python",),
        endings=(".py", ".pyi"),
        grammar=("tree_sitter_python", "language"),
        containers=frozenset({"module", "block"}),
        line_comments=("#",),
        long_quotes=('"""', "'''"),
    ),
    Language(
        name="typescript",
        ids=("typescript",),
        endings=(".ts", ".mts", ".cts"),
        grammar=("tree_sitter_typescript", "language_typescript"),
        containers=_SCRIPT_CONTAINERS,
        line_comments=_SLASHES,
        has_block_comments=True,
        long_quotes=("`",),
    ),
    Language(
        name="typescriptreact",
        ids=("typescriptreact", "tsx", "typescript.tsx"),
        endings=(".tsx",),
        grammar=("tree_sitter_typescript", "language_tsx"),
        containers=_SCRIPT_CONTAINERS,
        line_comments=_SLASHES,
        has_block_comments=True,
        long_quotes=("`",),
    ),
    Language(
        name="javascript",
        ids=("javascript", "javascriptreact", "jsx", "javascript.jsx"),
        endings=(".js", ".jsx", ".mjs", ".cjs"),
        grammar=("tree_sitter_javascript", "language"),
        containers=_SCRIPT_CONTAINERS,
        line_comments=_SLASHES,
        has_block_comments=True,
        long_quotes=("`",),
    ),
    Language(
        name="rust",
        ids=("rust",),
        endings=(".rs",),
        grammar=("tree_sitter_rust", "language"),
        containers=frozenset(
            {"source_file", "block", "declaration_list", "match_block", "enum_variant_list"}
            | {"field_declaration_list", "field_initializer_list"}
        ),
        line_comments=_SLASHES,
        has_block_comments=True,
        quotes="",
        long_quotes=('"',),
        has_char_literals=True,
    ),
    Language(
        name="go",
        ids=("go",),
        endings=(".go",),
        grammar=("tree_sitter_go", "language"),
        containers=frozenset(
            {"source_file", "block", "statement_list", "field_declaration_list", "literal_value"}
            | {"method_spec_list", "interface_type"}
        ),
        line_comments=_SLASHES,
        has_block_comments=True,
        quotes='"',
        long_quotes=("`",),
        has_char_literals=True,
    ),
    Language(
        name="c",
        ids=("c",),
        endings=(".c", ".h"),
        grammar=("tree_sitter_c", "language"),
        containers=_C_CONTAINERS,
        line_comments=_SLASHES,
        has_block_comments=True,
        quotes='"',
        has_char_literals=True,
    ),
    Language(
        name="cpp",
        ids=("cpp", "cuda-cpp"),
        endings=(".cc", ".cpp", ".cxx", ".hpp", ".hh"),
        grammar=("tree_sitter_cpp", "language"),
        containers=_C_CONTAINERS,
        line_comments=_SLASHES,
        has_block_comments=True,
        quotes='"',
        has_char_literals=True,
    ),
    Language(
        name="java",
        ids=("java",),
        endings=(".java",),
        grammar=("tree_sitter_java", "language"),
        containers=frozenset(
            {"program", "block", "class_body", "interface_body", "enum_body", "switch_block"}
            | {"constructor_body"}
        ),
        line_comments=_SLASHES,
        has_block_comments=True,
        quotes='"',
        long_quotes=('"""',),
        has_char_literals=True,
    ),
    Language(
        name="json",
        ids=("json", "jsonc"),
        endings=(".json", ".jsonc"),
        grammar=("tree_sitter_json", "language"),
        containers=frozenset({"document", "object", "array"}),
        line_comments=_SLASHES,
        quotes='"',
    ),
    Language(
        name="yaml",
        ids=("yaml", "dockercompose", "github-actions-workflow"),
        endings=(".yaml", ".yml"),
        grammar=("tree_sitter_yaml", "language"),
        containers=frozenset({"block_mapping", "block_sequence", "document"}),
        line_comments=("#",),
    ),
    Language(
        name="lua",
        ids=("lua",),
        endings=(".lua",),
        grammar=("tree_sitter_lua", "language"),
        containers=frozenset({"chunk", "block", "table_constructor"}),
        line_comments=("--",),
    ),
    Language(
        name="shellscript",
        ids=("shellscript", "sh", "bash", "zsh", "ruby", "r", "perl", "toml", "dockerfile"),
        endings=(".sh", ".bash", ".rb", ".toml"),
        line_comments=("#",),
    ),
    Language(
        name="makefile",
        ids=("makefile", "make"),
        endings=(".mk",),
        line_comments=("#",),
        quotes="",
        keeps_tabs=True,
    ),
    Language(
        name="prose",
        ids=("markdown", "plaintext", "text", "latex", "restructuredtext", "git-commit"),
        endings=(".md", ".txt", ".rst", ".tex"),
        quotes="",
        is_prose=True,
    ),
)
# Any other language; most have the quotes and the comments of C.
_OTHER = Language(name="other", ids=(), line_comments=_SLASHES, has_block_comments=True)
_BY_ID = {name: row for row in _ROWS for name in row.ids}
_BY_ENDING = {ending: row for row in _ROWS for ending in row.endings}


def language_of(place: Place) -> Language:
    """The row of the place's language id, else of its file name, else one that fits most."""
    found = _BY_ID.get(place.language_id or "")
    return found or _BY_ENDING.get(place.file_ending, _OTHER)
