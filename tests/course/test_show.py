"""Source as installed: the right lines, a link, no trace of this machine, the same plain text everywhere."""

import html
import inspect
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from principal_kit.core import clock, errors
from principal_kit.core.clock import ManualClock
from principal_kit.core.errors import InvalidArgument, KitError
from principal_kit.course import show
from principal_kit.course.project import PACKAGE, REPO_URL
from principal_kit.placement import HashRing

LUA = sorted(p.relative_to(PACKAGE).as_posix() for p in PACKAGE.rglob("*.lua"))


class Pre(HTMLParser):
    """The attributes and the text of the source block."""

    def __init__(self, page):
        super().__init__()
        self.attributes, self.text, self._inside = {}, "", False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        if tag == "pre":
            self.attributes, self._inside = dict(attrs), True

    def handle_endtag(self, tag):
        if tag == "pre":
            self._inside = False

    def handle_data(self, data):
        if self._inside:
            self.text += data


def test_a_class_shows_its_source_byte_for_byte():
    source = show(ManualClock)
    assert source.code == inspect.getsource(ManualClock).rstrip("\n")
    assert Pre(source._repr_html_()).text == source.code


def test_the_lines_named_are_the_lines_of_the_file():
    source = show(ManualClock.advance)
    lines = Path(clock.__file__).read_text().splitlines()[source.first - 1 : source.last]
    assert lines[0].strip() == source.code.splitlines()[0]
    assert len(lines) == len(source.code.splitlines())
    assert source.url == f"{REPO_URL}/blob/main/src/principal_kit/core/clock.py#L{source.first}-L{source.last}"


@pytest.mark.parametrize(
    "obj, plain",
    [
        (ManualClock, "ManualClock — principal_kit/core/clock.py"),
        (ManualClock.advance, "ManualClock.advance — principal_kit/core/clock.py"),
        (ManualClock().advance, "ManualClock.advance — principal_kit/core/clock.py"),
        (clock, "clock.py — principal_kit/core/clock.py"),
        ("core/clock.py", "clock.py — principal_kit/core/clock.py"),
        (Path("core/clock.py"), "clock.py — principal_kit/core/clock.py"),
    ],
    ids=["class", "function", "bound", "module", "text", "path"],
)
def test_plain_text_is_one_stable_line(obj, plain):
    assert repr(show(obj)) == plain


def test_a_property_shows_its_getter():
    prop = next(v for v in vars(HashRing).values() if isinstance(v, property))
    assert "def " in show(prop).code


def test_selected_methods_keep_their_code_and_mark_what_is_left_out():
    source = show(ManualClock, methods=["advance"])
    lines = source.code.splitlines()
    assert lines[0] == "class ManualClock:"
    assert lines[1] == '    """A clock that moves only when told to."""'
    assert inspect.getsource(ManualClock.advance).rstrip("\n") in source.code
    assert "__call__" not in source.code
    assert re.search(r"# ⋯ \d+ lines", source.code)


def test_a_part_of_a_file_that_cannot_be_imported_here():
    path = "platform/jobs/velocity_function.py"
    part = show.file(path, "Velocity", ["on_timer", "open"])
    assert part.code.startswith("class Velocity(KeyedProcessFunction):")
    assert part.code.index("def open") < part.code.index("def on_timer")
    assert "def process_element" not in part.code
    whole = show.file(path).code.splitlines()
    assert whole[part.first - 1].startswith("class Velocity")
    assert show.file(path, "main").code == "\n".join(
        whole[show.file(path, "main").first - 1 : show.file(path, "main").last]
    )
    with pytest.raises(InvalidArgument, match="has no 'Speed' to show; it has: Velocity, main"):
        show.file(path, "Speed")
    with pytest.raises(InvalidArgument, match="Velocity defines no method close"):
        show.file(path, "Velocity", ["close"])


def test_selected_methods_come_in_file_order_and_account_for_every_line():
    source = show(KitError, methods="__init__")
    assert "⋯" not in source.code.splitlines()[-1]
    ring = show(HashRing, methods=["_build", "node_for"])
    assert ring.code.index("def node_for") < ring.code.index("def _build")
    whole = sum(bool(line.strip()) for line in show(HashRing).code.splitlines())
    hidden = sum(int(n) for n in re.findall(r"# ⋯ (\d+) line", ring.code))
    shown = sum(bool(line.strip()) and "⋯" not in line for line in ring.code.splitlines())
    docstring = inspect.cleandoc(HashRing.__doc__).splitlines()
    assert hidden + shown <= whole
    assert hidden + shown >= whole - len(docstring) - 1


def test_an_unknown_method_names_those_that_exist():
    with pytest.raises(InvalidArgument, match=r"no method sleep; it has: .*advance"):
        show(ManualClock, methods=["sleep"])


@pytest.mark.parametrize(
    "obj", [json, json.dumps, Pre, 3, ManualClock(), len, "no/such.py", "../../pyproject.toml", "/etc/hosts", "core"]
)
def test_what_is_not_the_kits_is_refused(obj):
    with pytest.raises(InvalidArgument):
        show(obj)


def test_methods_of_what_is_no_class_is_refused():
    with pytest.raises(InvalidArgument, match="methods="):
        show(ManualClock.advance, methods=["x"])


@pytest.mark.skipif(not LUA, reason="no Lua script in the kit")
def test_a_lua_script_shows_whole_and_highlighted():
    source = show.file(LUA[0])
    page = source._repr_html_()
    assert source.code == (PACKAGE / LUA[0]).read_text().rstrip("\n")
    assert Pre(page).text == source.code
    assert '<span class="kd">local</span>' in page or '<span class="k">' in page


def test_the_page_can_be_scrolled_by_keyboard_and_is_named():
    attributes = Pre(show(ManualClock)._repr_html_()).attributes
    assert attributes["tabindex"] == "0"
    assert attributes["role"] == "region"
    assert "ManualClock" in attributes["aria-label"]


def test_the_page_names_no_machine_and_loads_nothing():
    page = show(errors)._repr_html_()
    assert str(PACKAGE) not in page
    assert str(Path.home()) + "/" not in page
    assert set(re.findall(r'(?:src|href)="(.*?)"', page)) == {html.escape(show(errors).url)}


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear))


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", ["_LIGHT", "_DARK"])
def test_every_colour_of_the_source_can_be_read(theme):
    module = inspect.getmodule(show)
    colours = dict(re.findall(r"--(\w+):(#\w{6})", getattr(module, theme)))
    for name in ("fg", "dim", "kw", "str", "num", "fn"):
        assert contrast(colours[name], colours["bg"]) >= 4.5, name
