"""Show a class, a function or a script exactly as it is installed, so that the book and the code cannot drift apart.

The HTML is self-contained: Pygments' token classes plus a small style sheet on CSS variables, which follows the theme
of JupyterLab, of the site and of the browser. The plain form is one stable line, fit for comparison by nbval.
"""

from __future__ import annotations

import ast
import functools
import html
import inspect
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from types import ModuleType
from typing import Any

from principal_kit.core.errors import InvalidArgument
from principal_kit.course.project import PACKAGE, source_url

_LEXERS = {".py": "python", ".lua": "lua", ".sql": "sql", ".json": "json", ".yaml": "yaml", ".sh": "bash"}

# Each token colour reaches 4.5:1 on its background.
_LIGHT = "--bg:#f6f8fa;--fg:#1f2328;--line:#d0d7de;--dim:#57606a;--kw:#a40e26;--str:#0a3069;--num:#0550ae;--fn:#6639ba"
_DARK = "--bg:#161b22;--fg:#e6edf3;--line:#3d444d;--dim:#9ea7b3;--kw:#ff9d94;--str:#a5d6ff;--num:#79c0ff;--fn:#d2a8ff"
_CSS = (
    f".kit-src{{{_LIGHT};border:1px solid var(--line);border-radius:6px;margin:.6em 0;background:var(--bg);"
    "color:var(--fg);text-align:left}"
    f"@media(prefers-color-scheme:dark){{.kit-src{{{_DARK}}}}}"
    f"html[data-theme=light] .kit-src,body[data-jp-theme-light=true] .kit-src{{{_LIGHT}}}"
    f"html[data-theme=dark] .kit-src,body[data-jp-theme-light=false] .kit-src{{{_DARK}}}"
    ".kit-src p{margin:0;padding:.4em .9em;border-bottom:1px solid var(--line);font-size:.85em;color:var(--dim);"
    "overflow-wrap:anywhere}"
    ".kit-src p b{color:var(--fg)}.kit-src p a{color:var(--num);text-decoration:underline}"
    ".kit-src pre{margin:0;padding:.7em .9em;overflow:auto;max-height:42em;background:none;border:0;box-shadow:none;"
    "color:var(--fg);font-size:.85em;line-height:1.45}"
    ".kit-src pre:focus-visible{outline:2px solid var(--num);outline-offset:-2px}"
    ".kit-src :is(.k,.kn,.kd,.kr,.ow,.o.w){color:var(--kw)}"
    ".kit-src :is(.s,.s1,.s2,.sa,.sb,.sc,.se,.sh,.si,.sr,.ss){color:var(--str)}"
    ".kit-src :is(.mi,.mf,.mh,.mb,.mo,.kc,.nb,.bp){color:var(--num)}"
    ".kit-src :is(.nf,.nc,.fm,.nd){color:var(--fn)}"
    ".kit-src :is(.c,.c1,.cm,.ch,.sd){color:var(--dim);font-style:italic}"
)


@dataclass(frozen=True)
class Source:
    """A piece of the package's source that displays itself.

    Attributes:
        name: qualified name ("HashRing.node_for") or the file's name.
        path: relative to the package, with forward slashes ("placement/ring.py").
        code: the lines shown, with elision marks where something was left out.
        first, last: line numbers in the file, counted from 1, inclusive.
    """

    name: str
    path: str
    code: str
    first: int
    last: int

    @property
    def url(self) -> str:
        """Address of these lines in the public repository."""
        return source_url(self.path, self.first, self.last)

    def __repr__(self) -> str:
        return f"{self.name} — principal_kit/{self.path}"

    def _repr_html_(self) -> str:
        from pygments import highlight
        from pygments.formatters import HtmlFormatter
        from pygments.lexers import get_lexer_by_name

        import principal_kit

        lexer = get_lexer_by_name(_LEXERS.get(PurePath(self.path).suffix, "text"), stripnl=False)
        body = highlight(self.code, lexer, HtmlFormatter(nowrap=True)).rstrip("\n")
        name = html.escape(self.name)
        return (
            f'<div class="kit-src"><style>{_CSS}</style>'
            f'<p><b>{name}</b> · <a href="{html.escape(self.url)}">principal_kit/{html.escape(self.path)}</a>'
            f" · lines {self.first}–{self.last} · version {principal_kit.__version__}</p>"
            f'<pre tabindex="0" role="region" aria-label="Source of {name}"><code>{body}</code></pre></div>'
        )


def show(obj: Any, methods: Sequence[str] | str | None = None) -> Source:
    """The source of `obj` from the installed package, highlighted, with a link to its file.

    Args:
        obj: a class, function, method, property or module of the kit, or the path of one of its files
            ("ratelimit/lua/token_bucket.lua"), relative to the package.
        methods: for a class: show its header, the first line of its docstring and only these methods, in file order.

    Cost: one read of the file. Raises InvalidArgument for what is not the kit's, for an unknown method (naming those
    that exist), and for `methods` of something that is not a class.

    >>> from principal_kit.core.clock import ManualClock
    >>> show(ManualClock.advance)
    ManualClock.advance — principal_kit/core/clock.py
    """
    wanted = (methods,) if isinstance(methods, str) else methods
    if wanted is not None and not inspect.isclass(obj):
        raise InvalidArgument(f"methods= selects from a class; got {_describe(obj)}")
    if isinstance(obj, (str, PurePath)):
        return file(obj)
    target = _unwrap(obj)
    if inspect.ismodule(target):
        return file(_relative(target, target))
    if not (inspect.isclass(target) or inspect.isroutine(target)):
        raise InvalidArgument(f"show() takes a class, function, module or path of the kit; got {_describe(obj)}")
    path = _relative(target, obj)
    try:
        lines, first = inspect.getsourcelines(target)
    except (OSError, TypeError) as error:
        raise InvalidArgument(f"no source found for {_describe(obj)}") from error
    code = textwrap.dedent("".join(lines)).rstrip("\n")
    last = first + len(lines) - 1
    if wanted is not None:
        code = _selected(target.__qualname__, code, tuple(wanted))
    return Source(target.__qualname__, path, code, first, last)


def file(path: str | PurePath, of: str | None = None, methods: Sequence[str] | None = None) -> Source:
    """A text file of the package, whole: a Lua script, a query, a module. `path` is relative to the package.

    Args:
        of: of a Python file only this class or function; for code that runs elsewhere and cannot be imported here.
        methods: of that class only these, as for `show`.

    Raises InvalidArgument if there is no such file, class, function or method, or if it lies outside the package.
    """
    target = (PACKAGE / Path(path)).resolve()
    if not target.is_relative_to(PACKAGE) or not target.is_file():
        raise InvalidArgument(f"no file {str(path)!r} in the kit; expected a path like 'core/clock.py'")
    code, place = target.read_text(encoding="utf-8").rstrip("\n"), target.relative_to(PACKAGE).as_posix()
    if of is None:
        return Source(target.name, place, code, 1, code.count("\n") + 1)
    kinds = ast.ClassDef if methods is not None else (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = {node.name: node for node in ast.parse(code).body if isinstance(node, kinds)}
    if of not in found:
        raise InvalidArgument(f"{place} has no {of!r} to show; it has: {', '.join(found) or 'none'}")
    first, last = _start(found[of]), found[of].end_lineno
    part = "\n".join(code.split("\n")[first - 1 : last])
    return Source(of, place, part if methods is None else _selected(of, part, tuple(methods)), first, last)


show.file = file  # show.file("ratelimit/lua/token_bucket.lua") reads well in a notebook


def _unwrap(obj: Any) -> Any:
    if isinstance(obj, property):
        obj = obj.fget
    elif isinstance(obj, functools.cached_property):
        obj = obj.func
    elif isinstance(obj, (staticmethod, classmethod)) or inspect.ismethod(obj):
        obj = obj.__func__
    return inspect.unwrap(obj) if callable(obj) and not inspect.isclass(obj) else obj


def _relative(target: ModuleType | Any, original: Any) -> str:
    """The file of `target` relative to the package. Raises InvalidArgument if it is somebody else's code."""
    try:
        found = Path(inspect.getsourcefile(target) or "").resolve()
    except TypeError:
        found = Path()
    if not found.is_relative_to(PACKAGE):
        raise InvalidArgument(f"show() shows the kit's own source; {_describe(original)} is not part of principal_kit")
    return found.relative_to(PACKAGE).as_posix()


def _describe(obj: Any) -> str:
    name = getattr(obj, "__qualname__", None) or getattr(obj, "__name__", None)
    return f"{name} of {getattr(obj, '__module__', None)}" if name else f"a value of type {type(obj).__name__}"


def _selected(name: str, code: str, wanted: tuple[str, ...]) -> str:
    """The class header, its docstring's first line and the wanted methods; each gap is marked with its length."""
    lines = code.split("\n")
    node = ast.parse(code).body[0]
    assert isinstance(node, ast.ClassDef)
    methods = {m.name: m for m in node.body if isinstance(m, (ast.FunctionDef, ast.AsyncFunctionDef))}
    unknown = [name for name in wanted if name not in methods]
    if unknown or not wanted:
        asked = ", ".join(unknown) or "(none asked)"
        raise InvalidArgument(f"{name} defines no method {asked}; it has: {', '.join(methods)}")

    documented = ast.get_docstring(node) is not None
    header_end = node.body[0].lineno - 1 if documented else _start(node.body[0]) - 1
    kept = [(1, header_end)]  # decorators, bases: all up to the first statement
    out = [line for line in lines[:header_end] if line.strip()]
    if documented:
        doc = node.body[0]
        first = lines[doc.lineno - 1]
        closing = "" if doc.lineno == doc.end_lineno else first.strip()[:3]
        out.append(first + closing)
        kept.append((doc.lineno, doc.end_lineno))
    position = kept[-1][1]
    for name in sorted(set(wanted), key=lambda n: methods[n].lineno):
        method = methods[name]
        start = _start(method)
        out += _gap(lines[position : start - 1])
        out += lines[start - 1 : method.end_lineno]
        position = method.end_lineno
    return "\n".join(out + _gap(lines[position:]))


def _start(statement: ast.stmt) -> int:
    decorators = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(d.lineno for d in decorators)])


def _gap(left_out: list[str]) -> list[str]:
    count = sum(bool(line.strip()) for line in left_out)
    if count == 0:
        return [""] if left_out else []
    return ["", f"    # ⋯ {count} line{'s' * (count != 1)}", ""]
