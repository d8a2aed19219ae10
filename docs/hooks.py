"""Fill the reference pages: `::: exports backaction.systems` becomes one entry for each public name.

A package's public names are those of a literal `__all__`, or else its explicit re-exports
(`from .system import System as System`) and its own functions and classes, in the order in which they
stand. They are read from the source; nothing is imported.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DIRECTIVE = re.compile(r"^::: exports (?P<module>[\w.]+)$", re.MULTILINE)


def public_names(module: str) -> list[str]:
    """Public names of `module`, in the order of its source."""
    path = ROOT.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    body = ast.parse(path.read_text(encoding="utf-8")).body
    for node in body:
        if isinstance(node, ast.Assign) and any(getattr(t, "id", None) == "__all__" for t in node.targets):
            return list(ast.literal_eval(node.value))
    names = [
        alias.name
        for node in body
        if isinstance(node, ast.ImportFrom) and node.level
        for alias in node.names
        if alias.asname == alias.name
    ]
    names += [
        node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    ]
    if not names:
        raise ValueError(f"{path} exports nothing: give it `__all__` or `from .x import y as y`")
    return names


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by mkdocs for each page."""

    def entries(match: re.Match[str]) -> str:
        module = match["module"]
        return "\n\n".join(f"::: {module}.{name}" for name in public_names(module))

    return DIRECTIVE.sub(entries, markdown)
