"""Grade a reader's answer with property tests and report the smallest input on which it fails.

An exercise is a title plus properties; a property is a function `(answer, **inputs)` whose inputs Hypothesis draws.
The result names the property that failed, the shrunk input, what was expected and what came back; never a solution.
How to write an exercise: see `principal_kit.course.exercises`.
"""

from __future__ import annotations

import contextlib
import ctypes
import dis
import html
import importlib
import inspect
import io
import pkgutil
import re
import reprlib
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from principal_kit.core.errors import InvalidArgument

_KEY = re.compile(r"^(\d\.\d)\.[a-z]$")
_REGISTRY: dict[str, Exercise] = {}

_show = reprlib.Repr()  # long enough for a shrunk input, short enough for a page
_show.maxstring = _show.maxother = 200
_show.maxlist = _show.maxtuple = _show.maxdict = _show.maxset = 24
_show.maxlevel, _show.maxlong = 6, 60


class Mismatch(AssertionError):
    """A property does not hold; carries what was expected and what the answer gave."""

    def __init__(self, expected: str, got: str) -> None:
        super().__init__(f"expected {expected}, got {got}")
        self.expected, self.got = expected, got


class _TimeUp(BaseException):
    """Injected into a checker that ran out of time; not an Exception, so `except Exception` lets it pass."""


def expect(holds: Any, *, expected: Any, got: Any) -> None:
    """State a fact; `expected` may be a sentence (str) or a value. Raises Mismatch if it does not hold.

    >>> expect(2 + 2 == 4, expected=4, got=2 + 2)
    """
    if not holds:
        raise Mismatch(expected if isinstance(expected, str) else _show.repr(expected), _show.repr(got))


def expect_equal(got: Any, expected: Any) -> None:
    """The answer's value must equal `expected`, which is shown. Raises Mismatch."""
    if not bool(got == expected):
        raise Mismatch(_show.repr(expected), _show.repr(got))


def expect_raises(kinds: type[BaseException] | tuple[type[BaseException], ...], call: Callable, *args: Any) -> None:
    """`call(*args)` must raise one of `kinds`. Raises Mismatch if it returns; another exception goes through."""
    names = " or ".join(k.__name__ for k in (kinds if isinstance(kinds, tuple) else (kinds,)))
    try:
        got = call(*args)
    except kinds:
        return
    raise Mismatch(f"{names} raised", f"{_show.repr(got)} returned")


@dataclass(frozen=True)
class Property:
    """One sentence that must hold for every drawn input."""

    name: str
    test: Callable
    inputs: dict[str, Any]
    examples: int


@dataclass
class Exercise:
    """An exercise and its properties, in the order in which they are checked. Creating one registers it.

    Args:
        key: chapter and letter, "1.1.a".
        title: a few words.
        wants: what the reader hands in, e.g. "a function `owner(key, nodes)` that returns one of `nodes`".
        takes: number of positional arguments the answer must accept when called; None if it is not called.
        methods: names that an answer which is a class must define.
        seconds: time for all properties together.

    Raises InvalidArgument on a malformed or duplicate key.
    """

    key: str
    title: str
    wants: str
    takes: int | None = None
    methods: tuple[str, ...] = ()
    seconds: float = 20.0
    properties: list[Property] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not _KEY.match(self.key):
            raise InvalidArgument(f"exercise key {self.key!r}: expected chapter and letter, like '1.1.a'")
        other = _REGISTRY.get(self.key)
        if other is not None and other.title != self.title:  # the same title again: the module was reloaded
            raise InvalidArgument(f"exercise {self.key} is declared twice: {other.title!r} and {self.title!r}")
        _REGISTRY[self.key] = self

    def property(self, name: str, *, examples: int = 100, **inputs: Any) -> Callable[[Callable], Callable]:
        """Register a property: the decorated `(answer, **inputs)` raises (see `expect`) when it does not hold.

        Args:
            name: the sentence that must hold, as the reader will see it.
            examples: upper bound on the inputs tried.
            inputs: one Hypothesis strategy per argument; without any, the property runs once.
        """

        def register(test: Callable) -> Callable:
            self.properties.append(Property(name, test, inputs, examples))
            return test

        return register


@dataclass(frozen=True)
class Failure:
    """Why a property failed: headline (may be empty), then labelled lines such as the smallest failing input."""

    headline: str
    details: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Result:
    """The outcome of `check`; true when every property holds.

    Attributes:
        held: names of the properties that hold, in order.
        failed: name of the property that failed; None if none did, or if the answer could not be run at all.
        failure: why, when it did not pass.
        attempted: False for None, a stub, or an answer that raises NotImplementedError.
    """

    exercise: Exercise
    held: tuple[str, ...]
    failed: str | None = None
    failure: Failure | None = None
    attempted: bool = True

    @property
    def passed(self) -> bool:
        """Whether every property of the exercise holds."""
        return self.attempted and self.failure is None

    def __bool__(self) -> bool:
        return self.passed

    def _lines(self) -> Iterator[tuple[str, str, str]]:
        """(mark, style class, text) for each line under the headline."""
        for name in self.held:
            yield "✓", "ok", name
        names = [p.name for p in self.exercise.properties]
        if self.failure is None:
            return
        yield "✗", "no", self.failed or self.failure.headline
        if self.failed and self.failure.headline:
            yield "", "more", self.failure.headline
        for label, text in self.failure.details:
            yield "", "more", f"{label}: {text}"
        for name in names[len(self.held) + 1 :] if self.failed else names:
            yield "·", "later", f"not checked yet: {name}"

    def _headline(self) -> str:
        head = f"Exercise {self.exercise.key} · {self.exercise.title}"
        if not self.attempted:
            return f"{head}: not attempted yet."
        return f"{head}: passed" if self.passed else f"{head}: not yet"

    def _invitation(self) -> str:
        return "" if self.attempted else f" Define {self.exercise.wants}."

    def __str__(self) -> str:
        lines = [self._headline() + self._invitation()]
        if self.attempted:
            for mark, _, text in self._lines():
                first, *rest = text.splitlines() or [""]
                lines.append(f"  {mark:1} {'  ' if not mark else ''}{first}".rstrip())
                lines.extend(f"        {line}".rstrip() for line in rest)
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        colour = "#767676" if not self.attempted else "#0a7d5a" if self.passed else "#b3470a"
        rows = []
        if self.attempted:
            for mark, kind, text in self._lines():
                body = _with_code(text)
                if kind == "more":
                    body = f'<code style="white-space:pre-wrap;font-size:.9em">{html.escape(text)}</code>'
                pad = "1.6em" if kind == "more" else "0"
                rows.append(f'<li style="margin:.15em 0;padding-left:{pad};list-style:none">{mark} {body}</li>')
        listing = f'<ul style="margin:.4em 0 0;padding:0">{"".join(rows)}</ul>' if rows else ""
        return (
            f'<div class="kit-check" style="border-left:4px solid {colour};padding:.5em 1em;margin:.5em 0">'
            f"<strong>{html.escape(self._headline())}</strong>{_with_code(self._invitation())}{listing}</div>"
        )


def _with_code(text: str) -> str:
    """Text as HTML, what stands between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))


def exercises(chapter: str | None = None) -> dict[str, Exercise]:
    """The declared exercises by key, of one chapter ("1.1") or of all. Imports the chapter's modules on first use."""
    package = importlib.import_module("principal_kit.course.exercises")
    prefix = "ch_" if chapter is None else f"ch_{chapter.replace('.', '_')}"
    for module in sorted(m.name for m in pkgutil.iter_modules(package.__path__)):
        if module == prefix or module.startswith(prefix if chapter is None else prefix + "_"):
            importlib.import_module(f"{package.__name__}.{module}")
    return {k: _REGISTRY[k] for k in sorted(_REGISTRY) if chapter is None or k.startswith(f"{chapter}.")}


def check(key: str, answer: Any = None) -> Result:
    """Grade `answer` against exercise `key` ("1.1.a"); the result prints itself.

    Deterministic: the same answer gives the same result and the same smallest failing input. Bounded: at most the
    exercise's `seconds` (20 by default). A loop that never ends is stopped; one stuck inside C code is abandoned in a
    daemon thread. Raises InvalidArgument for an unknown key.

    >>> check("1.1.a").attempted
    False
    """
    match = _KEY.match(key) if isinstance(key, str) else None
    known = exercises(match.group(1)) if match else {}
    if key not in known:
        raise InvalidArgument(f"no exercise {key!r}; there are: {', '.join(known or exercises()) or 'none yet'}")
    return grade(known[key], answer)


def grade(exercise: Exercise, answer: Any) -> Result:
    """As `check`, for an Exercise object."""
    if answer is None or answer is Ellipsis or _is_stub(answer):
        return Result(exercise, (), attempted=False)
    complaint = _shape_complaint(exercise, answer)
    if complaint:
        return Result(exercise, (), failure=Failure(complaint, (("hand in", exercise.wants),)))
    held: list[str] = []
    deadline = time.monotonic() + exercise.seconds
    for prop in exercise.properties:
        failure = _Trial(prop, answer, exercise.seconds).run(deadline)
        if failure is _UNFINISHED:
            return Result(exercise, (), attempted=False)
        if failure is not None:
            return Result(exercise, tuple(held), prop.name, failure)
        held.append(prop.name)
    return Result(exercise, tuple(held))


_UNFINISHED = Failure("the answer raises NotImplementedError")


def _is_stub(answer: Any) -> bool:
    """Whether a function's body is only `...`, `pass` or a docstring."""
    code = getattr(answer, "__code__", None)
    if code is None:
        return False
    plain = {"RESUME", "NOP", "RETURN_VALUE", "RETURN_CONST", "LOAD_CONST", "COPY_FREE_VARS"}
    steps = list(dis.get_instructions(code))
    loads = [s.argval for s in steps if s.opname in ("LOAD_CONST", "RETURN_CONST")]
    return all(s.opname in plain for s in steps) and all(value is None for value in loads)


def _shape_complaint(exercise: Exercise, answer: Any) -> str | None:
    if exercise.methods:
        missing = [m for m in exercise.methods if not callable(getattr(answer, m, None))]
        if not isinstance(answer, type):
            return f"the answer is {_a(answer)}, not a class (hand in the class itself, not an instance)"
        if missing:
            return f"the class has no method {', '.join(missing)}"
    if exercise.takes is None:
        return None
    if not callable(answer):
        return f"the answer is {_a(answer)}, which cannot be called"
    try:
        inspect.signature(answer).bind(*[None] * exercise.takes)
    except TypeError as error:
        return f"the answer must accept {exercise.takes} argument{'s' * (exercise.takes != 1)}: {error}"
    except ValueError:  # a builtin without a signature: let the properties decide
        return None
    return None


def _a(value: Any) -> str:
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


class _Trial:
    """One property, run on a thread of its own so that it can be stopped."""

    def __init__(self, prop: Property, answer: Any, seconds: float) -> None:
        self.prop, self.answer, self.seconds = prop, answer, seconds
        self.inputs = ""  # of the example that runs now
        self.printed = ""  # by the answer during that example
        self.worst: Failure | None = None  # the smallest failure so far: Hypothesis only moves to smaller ones
        self.error: BaseException | None = None

    def run(self, deadline: float) -> Failure | None:
        """None if the property held, otherwise why it failed."""
        thread = threading.Thread(target=self._guarded, daemon=True, name="exercise")
        out_of_time = False
        with _quiet_home():
            thread.start()
            try:
                thread.join(max(0.05, deadline - time.monotonic()))
                out_of_time = thread.is_alive()
            finally:
                _stop(thread)
        if out_of_time:
            if self.worst is not None:  # time ran out while shrinking
                return self.worst
            return Failure(
                f"no result within {self.seconds:g} seconds: an endless loop, or far too slow?",
                (("last input", self.inputs),) if self.inputs else (),
            )
        return self._verdict()

    def _guarded(self) -> None:
        try:
            self._search()
        except BaseException as error:  # handed to the caller's thread
            self.error = error

    def _search(self) -> None:
        from hypothesis import HealthCheck, Phase, Verbosity, given, settings

        if not self.prop.inputs:
            return self._example()
        settings(
            max_examples=self.prop.examples,
            derandomize=True,
            database=None,
            deadline=None,
            print_blob=False,
            report_multiple_bugs=False,
            verbosity=Verbosity.quiet,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )(given(**self.prop.inputs)(self._given()))()

    def _given(self) -> Callable:
        def example(**inputs: Any) -> None:
            self._example(**inputs)

        return example

    def _example(self, **inputs: Any) -> None:
        self.inputs = ", ".join(f"{name}={_show.repr(value)}" for name, value in inputs.items())  # before it is mutated
        out = io.StringIO()
        try:
            with contextlib.redirect_stdout(out):
                self.prop.test(self.answer, **inputs)
        except Exception as error:
            self.printed = out.getvalue()
            if not _is_hypothesis_control(error):
                self.worst = self._explain(error)
            raise

    def _verdict(self) -> Failure | None:
        if self.error is None:
            return None
        from hypothesis.errors import Flaky

        if isinstance(self.error, Flaky):
            return Failure(
                "the answer gives different results for the same input; it must depend on its arguments alone",
                (("input", self.inputs),) if self.inputs else (),
            )
        if isinstance(self.error, NotImplementedError):
            return _UNFINISHED
        if self.worst is None:
            raise self.error  # the exercise's own fault (a strategy that cannot draw), not the reader's
        return self.worst

    def _explain(self, error: Exception) -> Failure:
        details = [("smallest failing input", self.inputs)] if self.inputs else []
        if isinstance(error, Mismatch):
            headline = ""  # the property's own sentence says it
            details += [("expected", error.expected), ("got", error.got)]
        elif isinstance(error, AssertionError) and not self._from_answer(error):
            headline = str(error) or "does not hold"
        else:
            what = "the answer raised" if self._from_answer(error) else "what the answer returned cannot be used:"
            text = str(error)
            headline = f"{what} {type(error).__name__}{': ' + text if text else ''}"
        if self.printed:
            lines = self.printed.rstrip().splitlines()
            details.append(("it printed", "\n".join(lines[:8] + ["…"] * (len(lines) > 8))))
        return Failure(headline, tuple(details))

    def _from_answer(self, error: BaseException) -> bool:
        """Whether the exception comes from below the property, that is from the reader's code."""
        files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
        own = {inspect.getsourcefile(self.prop.test) or self.prop.test.__code__.co_filename, __file__}
        names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
        # In tests the answer may live in the same file as the property: then the function's name decides.
        return bool(files) and (files[-1] not in own or names[-1] not in (self.prop.test.__name__, *_OWN_NAMES))


_OWN_NAMES = ("expect", "expect_equal", "expect_raises", "_example")


def _is_hypothesis_control(error: Exception) -> bool:
    """Hypothesis' own signals (`assume`, out of data) travel as exceptions; they say nothing about the answer."""
    return type(error).__module__.partition(".")[0] == "hypothesis"


@contextlib.contextmanager
def _quiet_home() -> Iterator[None]:
    """Keep Hypothesis from leaving a `.hypothesis` folder beside the reader's notebook."""
    import tempfile

    from hypothesis import configuration

    attribute = next((n for n in vars(configuration) if n.endswith("hypothesis_home_directory")), None)
    before = getattr(configuration, attribute) if attribute else None
    with tempfile.TemporaryDirectory(prefix="principal-kit-check-") as folder:
        if attribute:
            configuration.set_hypothesis_home_dir(folder)
        try:
            yield
        finally:
            if attribute:
                configuration.set_hypothesis_home_dir(before)


def _stop(thread: threading.Thread) -> None:
    """Raise _TimeUp inside the thread until it ends; give up after two seconds (it is a daemon, stuck in C code)."""
    give_up = time.monotonic() + 2.0
    while thread.is_alive() and time.monotonic() < give_up:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(_TimeUp))
        thread.join(0.1)
