"""The exercises of the book, one module per topic, named `ch_<part>_<chapter>_<topic>.py` (or `ch_1_1.py`).

A module is imported when a reader first checks an exercise of its chapter. It declares exercises like this:

    from hypothesis import strategies as st

    from principal_kit.course.check import Exercise, expect, expect_equal, expect_raises

    smallest = Exercise(
        "1.1.a",
        title="The smallest of a list",
        wants="a function `smallest(values)` that returns the least of a non-empty list of integers",
        takes=1,
    )

    @smallest.property("the result is in the list", values=st.lists(st.integers(), min_size=1))
    def _is_member(answer, values):
        got = answer(list(values))
        expect(got in values, expected="one of the list's values", got=got)

    @smallest.property("nothing in the list is smaller", values=st.lists(st.integers(), min_size=1))
    def _is_least(answer, values):
        expect_equal(answer(list(values)), min(values))

    @smallest.property("an empty list is refused")          # no inputs: runs once
    def _refuses_empty(answer):
        expect_raises(ValueError, answer, [])

Rules. Names of properties are sentences that read well after a tick or a cross and do not give the solution away.
Order them from the obvious to the subtle: checking stops at the first that fails. Draw small inputs: Hypothesis
shrinks them and the reader sees the smallest (avoid `st.data()`: its draws cannot be shown). A property must be
deterministic and fast; `examples=` bounds the inputs tried (100), `seconds=` of the Exercise bounds all together.
Pass the answer copies of what it may mutate. For an answer that is a class, give `methods=("acquire",)`; `takes` then
counts the constructor's arguments.

Each exercise ships, in `tests/course/`, a reference solution that passes and at least three plausible wrong ones, each
failing at the property you name: `grade(exercise, wrong).failed == "…"`.
"""
