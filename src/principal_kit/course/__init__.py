"""What a chapter asks of the book itself: show source, grade an exercise, draw a figure, name the machine,
and read what a run too big for every reader has measured.

from principal_kit.course import check, machine, plot, recorded, show
"""

from principal_kit.course import plot
from principal_kit.course.check import check
from principal_kit.course.machine import machine
from principal_kit.course.record import recorded
from principal_kit.course.show import show

__all__ = ["check", "machine", "plot", "recorded", "show"]
