"""What each language's grammar calls the parts that holes and cursors are cut by.

One table a language, read by `source`, `holes` and `cursors`. The names are node types of the
tree-sitter grammars; a type that a newer grammar renames yields no cuts, which the tests notice.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Syntax:
    """Node types of one language.

    containers: nodes whose children are statements. statements: those of them that are cut;
    definitions and imports are not. blocks: bodies of functions and control flow, not of classes.
    values: (parent type, field) of right-hand sides and returned values, field None for any named
    child. numbers, strings, comments: opaque to the cutter, interpolation included.
    """

    containers: frozenset[str]
    statements: frozenset[str]
    blocks: frozenset[str]
    block_owners_skipped: frozenset[str]
    calls: frozenset[str]
    arguments: frozenset[str]
    values: frozenset[tuple[str, str | None]]
    numbers: frozenset[str]
    strings: frozenset[str]
    comments: frozenset[str]
    has_braces: bool = True


_PYTHON = Syntax(
    containers=frozenset({"module", "block"}),
    statements=frozenset(
        {
            "expression_statement",
            "return_statement",
            "assert_statement",
            "raise_statement",
            "delete_statement",
            "if_statement",
            "for_statement",
            "while_statement",
            "with_statement",
        }
    ),
    blocks=frozenset({"block"}),
    block_owners_skipped=frozenset({"class_definition"}),
    calls=frozenset({"call"}),
    arguments=frozenset({"argument_list"}),
    values=frozenset(
        {
            ("assignment", "right"),
            ("augmented_assignment", "right"),
            ("keyword_argument", "value"),
            ("argument_list", None),
            ("return_statement", None),
        }
    ),
    numbers=frozenset({"integer", "float"}),
    strings=frozenset({"string"}),
    comments=frozenset({"comment"}),
    has_braces=False,
)

_JAVASCRIPT = Syntax(
    containers=frozenset({"program", "statement_block"}),
    statements=frozenset(
        {
            "expression_statement",
            "lexical_declaration",
            "variable_declaration",
            "return_statement",
            "throw_statement",
            "if_statement",
            "for_statement",
            "for_in_statement",
            "while_statement",
        }
    ),
    blocks=frozenset({"statement_block"}),
    block_owners_skipped=frozenset(),
    calls=frozenset({"call_expression", "new_expression"}),
    arguments=frozenset({"arguments"}),
    values=frozenset(
        {
            ("variable_declarator", "value"),
            ("assignment_expression", "right"),
            ("augmented_assignment_expression", "right"),
            ("pair", "value"),
            ("arguments", None),
            ("return_statement", None),
        }
    ),
    numbers=frozenset({"number"}),
    strings=frozenset({"string", "template_string", "regex", "jsx_text"}),
    comments=frozenset({"comment", "html_comment"}),
)

_RUST = Syntax(
    containers=frozenset({"block"}),
    statements=frozenset(
        {
            "let_declaration",
            "expression_statement",
            # Without a semicolon: the value of the block.
            "call_expression",
            "binary_expression",
            "macro_invocation",
            "struct_expression",
            "field_expression",
        }
    ),
    blocks=frozenset({"block"}),
    block_owners_skipped=frozenset(),
    calls=frozenset({"call_expression"}),
    arguments=frozenset({"arguments"}),
    values=frozenset(
        {
            ("let_declaration", "value"),
            ("assignment_expression", "right"),
            ("compound_assignment_expr", "right"),
            ("field_initializer", "value"),
            ("arguments", None),
            ("return_expression", None),
        }
    ),
    numbers=frozenset({"integer_literal", "float_literal"}),
    strings=frozenset({"string_literal", "raw_string_literal", "char_literal"}),
    comments=frozenset({"line_comment", "block_comment"}),
)

_GO = Syntax(
    containers=frozenset({"statement_list"}),
    statements=frozenset(
        {
            "short_var_declaration",
            "assignment_statement",
            "expression_statement",
            "return_statement",
            "defer_statement",
            "go_statement",
            "var_declaration",
            "if_statement",
            "for_statement",
        }
    ),
    blocks=frozenset({"block"}),
    block_owners_skipped=frozenset(),
    calls=frozenset({"call_expression"}),
    arguments=frozenset({"argument_list"}),
    values=frozenset(
        {
            ("short_var_declaration", "right"),
            ("assignment_statement", "right"),
            ("var_spec", "value"),
            ("argument_list", None),
            ("return_statement", None),
        }
    ),
    numbers=frozenset({"int_literal", "float_literal"}),
    strings=frozenset({"interpreted_string_literal", "raw_string_literal", "rune_literal"}),
    comments=frozenset({"comment"}),
)

SYNTAX = {
    "python": _PYTHON,
    "typescript": _JAVASCRIPT,
    "javascript": _JAVASCRIPT,
    "rust": _RUST,
    "go": _GO,
}
