"""Roles: whether a marker stands where code is wanted, or is a name or a type with a meaning.

Called by `find.py`. Asks the syntax tree; without a grammar, the line that the marker is on.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nemodiff_lsp.holes.source import Source

if TYPE_CHECKING:
    import tree_sitter

# (type of the parent, field) where an identifier gets a value instead of having one.
_TARGETS = {
    *(("assignment", "left"), ("augmented_assignment", "left"), ("assignment_expression", "left")),
    *(("for_statement", "left"), ("for_in_clause", "left"), ("for_in_statement", "left")),
    *(("short_var_declaration", "left"), ("range_clause", "left"), ("for_expression", "pattern")),
    *(("assignment_statement", "left"), ("variable_declarator", "name"), ("var_spec", "name")),
    *(("let_declaration", "pattern"), ("named_expression", "name"), ("const_spec", "name")),
    *(("function_definition", "name"), ("class_definition", "name"), ("function_item", "name")),
    *(("function_declaration", "name"), ("class_declaration", "name"), ("as_pattern", "alias")),
    *(("default_parameter", "name"), ("typed_default_parameter", "name"), ("parameter", "pattern")),
    *(("required_parameter", "pattern"), ("keyword_argument", "name"), ("aliased_import", "alias")),
    *(("call", "function"), ("call_expression", "function"), ("macro_invocation", "macro")),
}
_TARGET_TYPES = {
    *("parameters", "lambda_parameters", "formal_parameters", "closure_parameters"),
    *("pattern_list", "tuple_pattern", "list_pattern", "array_pattern", "object_pattern"),
    *("as_pattern_target", "global_statement", "nonlocal_statement", "delete_statement"),
    *("import_statement", "import_from_statement", "typed_parameter", "parameter_declaration"),
    *("case_pattern", "match_pattern"),
}
# Up to here an identifier may be part of a target that is a list of names.
_TRANSPARENT = {"expression_list", "identifier", "as_pattern_target"}

_TARGET_BEHIND = re.compile(r"[ \t]*(?:\(|(?:,[^=\n]*)?(?:=(?![=>])|:=)|(?:,[^\n]*)? in\b)")

_NEVER_WRITTEN = ("overload", "abstractmethod", "abstractproperty")
"""Decorators of functions whose bodies say nothing."""


def wants_expression(source: Source, start: int, end: int) -> bool:
    """Whether the identifier `start`..`end` is used, not bound, called or imported."""
    path = source.path_to(start, end)
    if not path:
        is_bound = _TARGET_BEHIND.match(source.text, end) is not None
        return not is_bound or source.is_in_brackets(start, "(")
    for (parent, _), (_, field) in zip(reversed(path[:-1]), reversed(path), strict=False):
        if parent.type in _TARGET_TYPES or (parent.type, field) in _TARGETS:
            return False
        if parent.type not in _TRANSPARENT:
            return True
    return True


def is_open_statement(source: Source, offset: int, *, has_todo: bool) -> bool:
    """Whether Python's stub at `offset` is a statement to be written.

    Not so in brackets (slices, types), in stub files, under `@overload` and `@abstractmethod`, in
    protocols, and as the whole body of a class; a TODO beside it counts for more than the last two.
    """
    if source.is_stub_file or source.is_in_brackets(offset):
        return False
    path = [node for node, _ in source.path_to(offset, offset + 1)]
    if not path:
        return has_todo or not _owner_line(source, offset).startswith(("class ", "@"))
    # From the inside out: what the stub stands in first.
    function = _innermost(path, "function_definition")
    if function >= 1 and _is_never_written(path[function - 1]):
        return False
    if has_todo:
        return True
    definition = _innermost(path, "class_definition")
    if definition >= 0 and _is_protocol(path[definition]):
        return False
    block = _innermost(path, "block")
    return block < 1 or path[block - 1].type != "class_definition"


def _innermost(path: list[tree_sitter.Node], kind: str) -> int:
    """Index of the last node of that type, or -1."""
    return max((index for index, node in enumerate(path) if node.type == kind), default=-1)


def _text(node: tree_sitter.Node) -> str:
    return (node.text or b"").decode("utf-8", "replace")


def _is_never_written(parent: tree_sitter.Node) -> bool:
    """Whether the function in `parent` has a decorator that makes it a mere declaration."""
    if parent.type != "decorated_definition":
        return False
    names = [_text(node) for node in parent.children if node.type == "decorator"]
    return any(name.rpartition(".")[2].lstrip("@").strip() in _NEVER_WRITTEN for name in names)


def _is_protocol(definition: tree_sitter.Node) -> bool:
    bases = definition.child_by_field_name("superclasses")
    return bases is not None and re.search(r"\bProtocol\b", _text(bases)) is not None


def _owner_line(source: Source, offset: int) -> str:
    """The nearest line above with less indentation, stripped."""
    number = source.line_of(offset)
    indent = source.width_of(number)
    for above in range(number - 1, -1, -1):
        line = source.line(above)
        if line.strip() and source.width_of(above) < indent:
            return line.strip()
    return ""
