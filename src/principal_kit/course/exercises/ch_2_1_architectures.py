"""Exercises 2.1.g and 2.1.h: two layers added up at one cut, and a reader that nobody slips behind."""

from __future__ import annotations

from itertools import combinations

from hypothesis import strategies as st

from principal_kit.course.check import Exercise, expect, expect_equal

# ── 2.1.g ────────────────────────────────────────────────────────────────────────────────────────
serve = Exercise(
    "2.1.g",
    title="Two layers and one cut",
    wants="a function `serve(view, known, cut, records)`: minutes to cents as the batch counted them, the ids that it "
    "counted, partition to the first offset behind the cut, and tuples `(partition, offset, event_id, minute, cents)` "
    "as delivered; returns minutes to cents with every order counted once",
    takes=4,
)

# An order is a letter; its minute and its cents follow from it, so that copies are equal, as copies are.
_ORDERS = {name: (60 * (n % 3), 10**n) for n, name in enumerate("abcd")}
_log = st.lists(st.tuples(st.integers(0, 1), st.sampled_from(sorted(_ORDERS))), max_size=8)
_distinct = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from(sorted(_ORDERS))), max_size=4, unique_by=lambda r: r[1]
)
_cut = st.tuples(st.integers(0, 4), st.integers(0, 4)).map(lambda at: {0: at[0], 1: at[1]})


def _records(log):
    """The log as records, in the order of arrival: each partition counts its own offsets."""
    ends, out = [0, 0], []
    for partition, name in log:
        out.append((partition, ends[partition], name, *_ORDERS[name]))
        ends[partition] += 1
    return out


def _sum(records):
    minutes, seen = {}, set()
    for _, _, name, minute, cents in records:
        if name not in seen:
            seen.add(name)
            minutes[minute] = minutes.get(minute, 0) + cents
    return minutes, seen


def _serve(answer, records, cut, delivered):
    """The answer for a batch over what is in front of `cut`; says so when an argument comes back changed."""
    view, known = _sum([r for r in records if r[1] < cut[r[0]]])
    arguments = dict(view), set(known), dict(cut), list(delivered)
    got = answer(*arguments)
    expect(arguments == (view, known, cut, list(delivered)), expected="the arguments as they were", got=arguments)
    expect(isinstance(got, dict), expected="a dict from minute to cents", got=got)
    return got


@serve.property("with nothing delivered, the answer is the batch's", log=_log, cut=_cut)
def _nothing(answer, log, cut):
    records = _records(log)
    expect_equal(_serve(answer, records, cut, []), _sum([r for r in records if r[1] < cut[r[0]]])[0])


@serve.property("with the cut at the beginning, different orders are added up", log=_distinct)
def _all_behind(answer, log):
    records = _records(log)
    expect_equal(_serve(answer, records, {0: 0, 1: 0}, records), _sum(records)[0])


@serve.property("what lies in front of the cut changes nothing, however late it is delivered", log=_distinct, cut=_cut)
def _in_front(answer, log, cut):
    records = _records(log)
    got = _serve(answer, records, cut, [r for r in records if r[1] < cut[r[0]]])
    expect_equal(got, _sum([r for r in records if r[1] < cut[r[0]]])[0])


@serve.property("an order that was sent again behind the cut counts once", log=_log, cut=_cut)
def _whole(answer, log, cut):
    records = _records(log)
    expect_equal(_serve(answer, records, cut, [r for r in records if r[1] >= cut[r[0]]]), _sum(records)[0])


@serve.property("a consumer may begin anywhere before the cut and deliver records again", log=_log, cut=_cut,
                back=st.integers(0, 4), again=st.integers(0, 3))  # fmt: skip
def _redelivered(answer, log, cut, back, again):
    records = _records(log)
    delivered = [r for r in records if r[1] >= cut[r[0]] - back]
    expect_equal(_serve(answer, records, cut, delivered + delivered[-again:] if again else delivered), _sum(records)[0])


# ── 2.1.h ────────────────────────────────────────────────────────────────────────────────────────
follow = Exercise(
    "2.1.h",
    title="A reader that nobody slips behind",
    wants="a function `follow(visible, oldest, after)`: the committed events as tuples `(transaction, position)`, the "
    "lowest number of a transaction that is still open (the next number to be given, if none is), and the last tuple "
    "that this reader has had; returns the list of tuples that it may have now, in order, holding back no more than "
    "needed",
    takes=3,
)


def _schedules():
    """Every way in which two transactions interleave, one with two events, and a reader asks once in between."""
    a, b = ["a begins", "a appends", "a ends"], ["b begins", "b appends", "b appends", "b ends"]
    for places in combinations(range(len(a) + len(b)), len(a)):
        ours, theirs = iter(a), iter(b)
        steps = [next(ours) if n in places else next(theirs) for n in range(len(a) + len(b))]
        for at in range(len(steps) + 1):
            yield [*steps[:at], "read", *steps[at:]]


_steps = st.sampled_from(sorted(_schedules(), key=lambda steps: steps.index("read")))


def _moments(steps):
    """What a reader sees at each "read" and when all is over: visible events, oldest open transaction (or next)."""
    open_, visible, moments = {}, [(1, 1)], []  # one event was there before
    number = position = 2
    for step in [*steps, "read"]:
        who, _, what = step.partition(" ")
        if what == "begins":
            open_[who] = (number, [])
            number += 1
        elif what == "appends":
            open_[who][1].append((open_[who][0], position))
            position += 1
        elif what == "ends":
            visible = visible + open_.pop(who)[1]
        elif step == "read":
            moments.append((visible, min((transaction for transaction, _ in open_.values()), default=number)))
    return moments


def _follow(answer, visible, oldest, after):
    got = answer(list(visible), oldest, after)
    expect(isinstance(got, list), expected="a list of tuples (transaction, position)", got=got)
    return [tuple(one) for one in got]


def _read(answer, moments):
    """All that a reader gets which asks at these moments."""
    had = []
    for moment in moments:
        had += _follow(answer, *moment, had[-1] if had else (0, 0))
    return had


@follow.property("once all is over, a new reader gets every event once", steps=_steps)
def _complete(answer, steps):
    [*_, last] = _moments(steps)
    expect_equal(sorted(_read(answer, [last])), sorted(last[0]))


@follow.property("a reader that asks again at once gets nothing twice", steps=_steps)
def _nothing_twice(answer, steps):
    [*_, last] = _moments(steps)
    had = _read(answer, [last, last])
    expect(len(had) == len(set(had)), expected="every event once", got=had)


@follow.property("whenever a reader asks, in the end it has missed nothing", steps=_steps, examples=400)
def _nothing_missed(answer, steps):
    moments = _moments(steps)
    expect_equal(sorted(_read(answer, moments)), sorted(moments[-1][0]))


@follow.property("readers that ask at different moments end with the same sequence", steps=_steps, examples=400)
def _one_sequence(answer, steps):
    moments = _moments(steps)
    expect_equal(_read(answer, moments), _read(answer, moments[-1:]))


@follow.property("nobody waits for a transaction that is newer than an event's own", steps=_steps, examples=400)
def _no_needless_wait(answer, steps):
    for visible, oldest in _moments(steps):
        safe = sorted(event for event in visible if event[0] < oldest)
        expect_equal(sorted(_follow(answer, visible, oldest, (0, 0))), safe)
