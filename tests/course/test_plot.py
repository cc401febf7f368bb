"""One look: readable, colour-blind safe, and the same bytes each time."""

import matplotlib
import pytest

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from PIL import Image

from principal_kit.core.errors import InvalidArgument
from principal_kit.course import plot

from .test_show import contrast


@pytest.fixture(autouse=True)
def styled():
    with matplotlib.rc_context():
        plot.use()
        yield
        plt.close("all")


def draw():
    figure, axes = plt.subplots()
    axes.plot([1, 2, 3], [3, 1, 2], label="a")
    plot.finding(axes, "It falls, then rises", "time (s)", "load (requests/s)")
    axes.legend()
    return figure


def test_text_and_lines_can_be_told_from_the_paper():
    assert contrast(plot.INK, plot.PAPER) >= 7
    assert contrast(plot.MUTED, plot.PAPER) >= 4.5
    for colour in (plot.BLUE, plot.VERMILLION, plot.GREEN, plot.BLACK):
        assert contrast(colour, plot.PAPER) >= 3, colour


def test_the_palette_has_no_colour_twice_and_drives_the_cycle():
    assert len(set(plot.PALETTE)) == len(plot.PALETTE)
    _, axes = plt.subplots()
    lines = [axes.plot([0, 1])[0] for _ in plot.PALETTE]
    assert tuple(line.get_color() for line in lines) == plot.PALETTE


def test_a_png_is_the_same_twice_and_names_no_software(tmp_path):
    one, two = (plot.save(draw(), tmp_path / name) for name in ("one.png", "two.png"))
    assert one.read_bytes() == two.read_bytes()
    with Image.open(one) as image:
        assert "Software" not in image.info
        assert image.size == (1400, 720)
        assert image.convert("RGB").getpixel((0, 0)) == tuple(bytes.fromhex(plot.PAPER[1:]))


def test_an_svg_is_the_same_twice(tmp_path):
    one, two = (plot.save(draw(), tmp_path / name) for name in ("one.svg", "two.svg"))
    assert one.read_bytes() == two.read_bytes()
    assert b"<dc:date>" not in one.read_bytes()


def test_a_finding_labels_both_axes_and_insists_on_a_title():
    _, axes = plt.subplots()
    assert plot.finding(axes, "Half the keys move", "nodes", "keys moved (%)") is axes
    assert axes.get_title(loc="left") == "Half the keys move"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("nodes", "keys moved (%)")
    with pytest.raises(InvalidArgument):
        plot.finding(axes, " ")
    assert axes.get_title(loc="left") == "Half the keys move"
