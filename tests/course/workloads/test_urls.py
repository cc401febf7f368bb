"""The crawl: URLs that are distinct exactly when their pages are, and a truth that a set confirms."""

import numpy as np
import pytest

from principal_kit.core.errors import InvalidArgument
from principal_kit.course.workloads.urls import MAX_PAGES, crawl, urls


def test_a_page_has_one_url_and_no_two_pages_share_one():
    text = urls(np.arange(200_000))
    assert np.unique(text).size == text.size
    assert (urls(np.array([5, 199_999, 5])) == text[[5, 199_999, 5]]).all()
    assert urls(np.array([MAX_PAGES - 1])).size == 1
    assert all(url.startswith(b"https://shop-") and len(url) == 48 for url in text[:1000].tolist())


def test_few_hosts_have_most_pages():
    hosts = urls(np.arange(100_000)).astype("S17")
    counts = np.sort(np.unique(hosts, return_counts=True)[1])[::-1]
    assert counts[: counts.size // 10].sum() > 0.25 * counts.sum()


@pytest.mark.parametrize("batch", [1, 1000, 4096])
def test_what_it_calls_new_is_what_a_set_has_not_seen(batch):
    seen, repeats, total = set(), 0, 0
    for text, new in crawl(20_000 if batch > 1 else 500, repeats=0.4, batch=batch, seed=3):
        for url, fresh in zip(text.tolist(), new.tolist()):
            assert (url not in seen) is fresh
            seen.add(url)
            repeats += not fresh
            total += 1
    assert repeats / total == pytest.approx(0.4, abs=0.1 if batch == 1 else 0.02)


def test_a_seed_fixes_the_stream():
    first, again, other = (list(crawl(5_000, batch=1024, seed=s)) for s in (1, 1, 2))
    assert all((a == b).all() for one, two in zip(first, again) for a, b in zip(one, two))
    assert not (first[0][1] == other[0][1]).all()


@pytest.mark.parametrize("pages", [np.array([-1]), np.array([MAX_PAGES]), np.array([1.5]), np.ones((2, 2), dtype=int)])
def test_pages_out_of_range_are_refused(pages):
    with pytest.raises(InvalidArgument):
        urls(pages)


@pytest.mark.parametrize("wrong", [{"urls_in_all": 0}, {"repeats": 1.0}, {"repeats": -0.1}, {"batch": 0}])
def test_bad_arguments_are_refused(wrong):
    with pytest.raises(InvalidArgument):
        next(crawl(**{"urls_in_all": 5} | wrong))
