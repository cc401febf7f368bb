"""Log lines with an incident: shares as stated, the new error only after the deploy, text and back."""

from collections import Counter

import pytest

from principal_kit.core.errors import InvalidArgument
from principal_kit.course.workloads.log_lines import INCIDENT, LEVELS, ODDS, SERVICES, VOLUME, LogLine, log_lines

LINES = log_lines(100_000, seed=3)


def test_services_and_levels_have_their_shares():
    """Within five standard errors."""
    quiet = [line for line in LINES if line.message != INCIDENT]
    for names, shares, field in ((SERVICES, VOLUME, "service"), (LEVELS, ODDS, "level")):
        found = Counter(getattr(line, field) for line in quiet)
        for name, share in zip(names, shares):
            assert abs(found[name] / len(quiet) - share) < 5 * (share * (1 - share) / len(quiet)) ** 0.5 + 1e-3


def test_the_incident_is_late_rare_and_of_one_service():
    new = [line for line in LINES if line.message == INCIDENT]
    assert 10 < len(new) < 40
    assert {(line.service, line.level) for line in new} == {("payments", "ERROR")}
    assert min(line.at for line in new) >= 0.8 * 3600
    assert [line.at for line in LINES] == sorted(line.at for line in LINES)


def test_the_seed_fixes_the_lines_and_text_brings_them_back():
    assert log_lines(1000, seed=3) == log_lines(1000, seed=3) != log_lines(1000, seed=4)
    assert [LogLine.parse(str(line)) for line in LINES[:1000]] == LINES[:1000]


@pytest.mark.parametrize("how", [{"count": 0}, {"count": 1.5}, {"count": 5, "deploy": 2}])
def test_bad_arguments_are_refused(how):
    with pytest.raises(InvalidArgument):
        log_lines(**how, seed=1)
    with pytest.raises(InvalidArgument, match="no log line"):
        LogLine.parse("short")
