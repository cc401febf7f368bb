"""The grader: it says which property failed, with the smallest input, on every kind of answer readers hand in."""

import random
import re
import subprocess
import sys
import threading

import pytest
from hypothesis import strategies as st

from principal_kit.core.errors import InvalidArgument
from principal_kit.course import check
from principal_kit.course.check import _REGISTRY, Exercise, exercises, expect, expect_equal, expect_raises, grade


def told(value: object) -> str:
    """A parameter as a test's name: the same in every process, so without addresses."""
    return re.sub(" at 0x[0-9a-f]+", "", repr(value))


MEMBER, LEAST, REFUSES = "the result is in the list", "nothing in the list is smaller", "an empty list is refused"


@pytest.fixture
def smallest():
    """An exercise of our own, taken out of the registry again."""
    exercise = Exercise("9.9.a", "The smallest", "a function `smallest(values)`", takes=1, seconds=10)
    lists = st.lists(st.integers(), min_size=1)

    @exercise.property(MEMBER, values=lists)
    def _member(answer, values):
        got = answer(list(values))
        expect(got in values, expected="one of the list's values", got=got)

    @exercise.property(LEAST, values=lists)
    def _least(answer, values):
        expect_equal(answer(list(values)), min(values))

    @exercise.property(REFUSES)
    def _refuses(answer):
        expect_raises(ValueError, answer, [])

    yield exercise
    del _REGISTRY["9.9.a"]


def test_a_right_answer_passes_and_lists_every_property(smallest):
    result = grade(smallest, min)
    assert result.passed
    assert result
    assert result.held == (MEMBER, LEAST, REFUSES)
    assert str(result) == f"Exercise 9.9.a · The smallest: passed\n  ✓ {MEMBER}\n  ✓ {LEAST}\n  ✓ {REFUSES}"


def test_a_wrong_answer_names_the_property_and_the_smallest_failing_input(smallest):
    result = grade(smallest, max)
    assert not result.passed
    assert result.held == (MEMBER,)
    assert result.failed == LEAST
    assert dict(result.failure.details) == {"smallest failing input": "values=[0, 1]", "expected": "0", "got": "1"}
    assert f"not checked yet: {REFUSES}" in str(result)


def test_the_input_shrinks_to_the_threshold_of_the_fault(smallest):
    result = grade(smallest, lambda values: min(values) if max(values) < 1000 else 0)
    assert dict(result.failure.details)["smallest failing input"] == "values=[1000]"


def test_the_same_answer_gives_the_same_report(smallest):
    reports = {str(grade(smallest, lambda values: sorted(values)[len(values) // 2])) for _ in range(3)}
    assert len(reports) == 1


def test_a_property_without_inputs_can_fail(smallest):
    result = grade(smallest, lambda values: min(values, default=0))
    assert result.failed == REFUSES
    assert dict(result.failure.details) == {"expected": "ValueError raised", "got": "0 returned"}


def unfinished(values):
    raise NotImplementedError


def stub(values):
    """Only a docstring."""


@pytest.mark.parametrize("answer", [None, ..., stub, unfinished, lambda values: None], ids=told)
def test_nothing_handed_in_is_not_an_error(smallest, answer):
    result = grade(smallest, answer)
    assert not result.attempted
    assert not result.passed
    assert str(result) == ("Exercise 9.9.a · The smallest: not attempted yet. Define a function `smallest(values)`.")


def test_a_function_that_returns_a_constant_is_an_attempt(smallest):
    assert grade(smallest, lambda values: 0).failed == MEMBER


@pytest.mark.parametrize(
    "answer, says",
    [
        (3, "an int, which cannot be called"),
        (lambda: 1, "must accept 1 argument"),
        (lambda a, b: 1, "missing a required"),
    ],
)
def test_what_cannot_be_called_with_the_arguments_says_so(smallest, answer, says):
    result = grade(smallest, answer)
    assert result.attempted
    assert result.failed is None
    assert says in result.failure.headline


def test_an_exception_of_the_answer_is_reported_with_its_input(smallest):
    def raises(values):
        return values[1]

    result = grade(smallest, raises)
    assert result.failed == MEMBER
    assert result.failure.headline == "the answer raised IndexError: list index out of range"
    assert dict(result.failure.details)["smallest failing input"] == "values=[0]"


def test_a_result_of_the_wrong_kind_is_told_apart_from_an_exception():
    exercise = Exercise("9.9.b", "Pairs", "a function that returns a pair", takes=1)

    @exercise.property("it is a pair", n=st.integers())
    def _pair(answer, n):
        _first, _second = answer(n)

    try:
        result = grade(exercise, lambda n: n)
    finally:
        del _REGISTRY["9.9.b"]
    assert result.failure.headline.startswith("what the answer returned cannot be used: TypeError")


def test_what_the_answer_prints_is_shown_for_the_failing_input_only(smallest, capsys):
    def chatty(values):
        print("looking at", values)
        return max(values)

    result = grade(smallest, chatty)
    assert dict(result.failure.details)["it printed"] == "looking at [0, 1]"
    assert capsys.readouterr().out == ""


def test_a_mutating_answer_does_not_falsify_the_reported_input(smallest):
    exercise = Exercise("9.9.c", "Sum", "a function", takes=1)

    @exercise.property("adds up", values=st.lists(st.integers(1, 9), min_size=2))
    def _adds(answer, values):
        expect_equal(answer(values), sum(values))

    def eats(values):
        values.pop()
        return 0

    try:
        result = grade(exercise, eats)
    finally:
        del _REGISTRY["9.9.c"]
    assert dict(result.failure.details)["smallest failing input"] == "values=[1, 1]"


def test_an_endless_loop_ends_and_its_thread_with_it(smallest):
    smallest.seconds = 1.0

    def endless(values):
        while True:
            pass

    before = threading.active_count()
    result = grade(smallest, endless)
    assert "no result within 1 seconds" in result.failure.headline
    assert result.failed == MEMBER
    assert threading.active_count() == before


def test_an_answer_that_rolls_dice_is_told_that_it_does(smallest):
    dice = random.Random(0)  # outside of hypothesis' own seeding of the global generator
    result = grade(smallest, lambda values: min(values) if dice.random() < 0.9 else max(values) + 1)
    assert not result.passed
    assert "different results for the same input" in result.failure.headline or result.failed == MEMBER


def test_a_fault_of_the_exercise_is_not_blamed_on_the_reader():
    exercise = Exercise("9.9.d", "Broken", "a function", takes=1)

    @exercise.property("cannot draw", n=st.integers().filter(lambda n: False))
    def _never(answer, n):
        expect_equal(answer(n), n)

    try:
        with pytest.raises(Exception, match="Unable to satisfy"):
            grade(exercise, lambda n: n + 0)
    finally:
        del _REGISTRY["9.9.d"]


def test_a_class_answer_must_be_a_class_with_the_methods():
    exercise = Exercise("9.9.e", "Counter", "a class `Counter(start)`", takes=1, methods=("add",))

    @exercise.property("adds", n=st.integers(0, 5))
    def _adds(answer, n):
        counter = answer(n)
        expect_equal(counter.add(), n + 1)

    class Right:
        def __init__(self, start):
            self.start = start

        def add(self):
            return self.start + 1

    class Without:
        def __init__(self, start): ...

    try:
        assert grade(exercise, Right).passed
        assert "not a class" in grade(exercise, Right(1)).failure.headline
        assert "has no method add" in grade(exercise, Without).failure.headline
    finally:
        del _REGISTRY["9.9.e"]


def test_html_says_the_same_and_escapes_what_the_reader_wrote(smallest):
    page = grade(smallest, lambda values: "<script>")._repr_html_()
    assert "&lt;script&gt;" in page
    assert "<script>" not in page
    assert MEMBER in page
    assert "passed" in grade(smallest, min)._repr_html_()
    unanswered = grade(smallest, None)._repr_html_()
    assert "not attempted yet.</strong> Define" in unanswered
    assert "`" not in unanswered


@pytest.mark.parametrize("key", ["1.1.z", "7.7.a", "", "1.1", None, 3])
def test_an_unknown_key_lists_the_known_ones(key):
    with pytest.raises(InvalidArgument, match=r"1\.1\.a"):
        check(key, min)


@pytest.mark.parametrize("key", ["1.1", "11.a", "1.1.A", ""])
def test_a_malformed_key_is_refused(key):
    with pytest.raises(InvalidArgument):
        Exercise(key, "x", "y")
    assert key not in _REGISTRY


def test_a_key_belongs_to_one_exercise(smallest):
    with pytest.raises(InvalidArgument, match="declared twice"):
        Exercise("9.9.a", "Another", "a function")
    assert _REGISTRY["9.9.a"] is smallest


def test_an_exercise_is_not_attempted_until_it_is():
    for key, exercise in exercises("1.1").items():
        result = check(key)
        assert not result.attempted
        assert exercise.properties, f"{key} checks nothing"


def test_checking_leaves_no_folder_behind(tmp_path):
    code = "from principal_kit.course import check; print(check('1.1.a', lambda key, nodes: nodes[0]).attempted)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "True", done.stderr
    assert list(tmp_path.iterdir()) == []
