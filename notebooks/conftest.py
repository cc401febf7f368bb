"""What nbval does not compare: pictures and markup that carry ids or machine-dependent bytes, and warnings on stderr.

A figure is judged by the numbers printed beside it; `text/html` tables have their `text/plain` twin, which is compared.
"""

NOT_COMPARED = ("image/svg+xml", "text/html", "stderr")


def pytest_collectstart(collector):
    """nbval's documented hook: it reads `skip_compare` of each notebook it collects."""
    if collector.path.suffix == ".ipynb" and hasattr(collector, "skip_compare"):
        collector.skip_compare += NOT_COMPARED
