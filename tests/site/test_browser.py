"""The site in headless Chromium, straight from the folder, with every other host out of reach."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from principal_kit.course import chapters

pytestmark = [pytest.mark.browser, pytest.mark.slow]

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
# Alone with the page: no sandbox inside containers, no GPU, and none of the browser's own traffic.
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
FRONT = "book/index.html"
CHAPTER = f"notebooks/{chapters.ready()[0].slug}.html"
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1360, "height": 900}


def find_chromium() -> str:
    for name in NAMES:
        if path := shutil.which(name):
            return path
    if Path(MAC).is_file():
        return MAC
    pytest.fail("no Chromium here: `make test` installs it, or: apt-get install chromium", pytrace=False)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=find_chromium(), args=QUIET)
        yield chromium
        chromium.close()


class Visit:
    """One browser window that remembers what went wrong in it."""

    def __init__(self, context: BrowserContext, site: Path) -> None:
        self.site = site
        self.complaints: list[str] = []
        context.set_default_timeout(120_000)  # a hang, not a busy machine
        context.route("**/*", self._local_only)
        self.page: Page = context.new_page()
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(f"exception: {error}"))
        self.page.on("requestfailed", self._failed)

    def _local_only(self, route) -> None:
        if route.request.url.startswith(("file:", "data:", "blob:")):
            route.continue_()
        else:
            self.complaints.append(f"asked another host: {route.request.url}")
            route.abort()

    def _failed(self, request) -> None:
        # Leaving a page cuts off what it was still loading: that is no failure of the site.
        if request.failure != "net::ERR_ABORTED":
            self.complaints.append(f"failed: {request.url} {request.failure}")

    def _heard(self, message) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"console: {message.text}")

    def open(self, name: str, query: str = "") -> Page:
        self.page.goto((self.site / name).as_uri() + query, wait_until="load")
        self.page.wait_for_function("document.querySelectorAll('pre.mermaid').length === 0")
        return self.page


@pytest.fixture
def visit(browser: Browser, site: Path, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """A window; parametrize indirectly with (size, colour scheme), by default a desk in light."""
    size, scheme = getattr(request, "param", (DESK, "light"))
    context = browser.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce")
    yield Visit(context, site)
    context.close()


def all_pages(site: Path) -> list[str]:
    found = sorted(str(p.relative_to(site)) for p in site.rglob("*.html") if "_static" not in p.parts)
    assert len(found) > 15
    return found


@pytest.mark.parametrize("visit", [(DESK, "light"), (PHONE, "dark")], indirect=True, ids=["desk", "phone"])
def test_every_page_loads_in_silence_and_fits_the_window(visit: Visit, site: Path):
    wide = {}
    for name in all_pages(site):
        page = visit.open(name)
        needs, has = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        if needs > has:
            boxes = ".pst-scrollable-table-container, .kit-scroll, pre, .math, .mermaid, mjx-container"
            outside = f"e => e.getBoundingClientRect().right > innerWidth + 1 && !e.parentElement.closest('{boxes}')"
            wide[name] = page.evaluate(
                f"[...document.querySelectorAll('article *')].filter({outside}).slice(0, 4)"
                ".map(e => e.outerHTML.slice(0, 90))"
            )
    assert visit.complaints == []
    assert wide == {}


# A chapter shows thousands of lines of code in the same dozen colours: the first blocks of each kind stand for all.
# The others are taken out of the page, since axe walks through what it is told to exclude, for half a minute.
LEAVE_OUT = """["article .highlight", "article .kit-src pre"].forEach(kind =>
  document.querySelectorAll(kind).forEach((block, i) => { if (i > 2) block.remove(); }))"""
RUN = """options => axe.run(document, {...options, resultTypes: ['violations']})"""
# Structure is the same in both schemes, so the second pass looks at what colours can break.
COLOURS = {"runOnly": ["color-contrast", "link-in-text-block"]}
AXE = (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "name, scheme, options",
    [
        (FRONT, "light", {}),
        (FRONT, "dark", COLOURS),
        (CHAPTER, "light", {}),
        (CHAPTER, "dark", COLOURS),
        ("book/how-to-use.html", "dark", {}),
        ("book/references.html", "light", {}),
    ],
)
def test_axe_finds_no_serious_violation(browser: Browser, site: Path, name: str, scheme: str, options: dict):
    context = browser.new_context(viewport=DESK, color_scheme=scheme, reduced_motion="reduce")
    page = Visit(context, site).open(name)
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    page.evaluate(AXE)
    page.evaluate(LEAVE_OUT)
    report = page.evaluate(RUN, options)
    context.close()
    told = [
        f"{violation['impact']} {violation['id']}: {violation['help']}\n"
        + "\n".join(f"    {node['html'][:160]}\n    {node['failureSummary']}" for node in violation["nodes"][:4])
        for violation in report["violations"]
        if violation["impact"] in ("serious", "critical")
    ]
    assert not told, "\n".join(told)


def test_axe_would_notice(browser: Browser, site: Path):
    """The check above can fail: a picture without alternative text is found."""
    context = browser.new_context()
    page = Visit(context, site).open(FRONT)
    page.evaluate("document.querySelector('article').insertAdjacentHTML('beforeend', '<img src=x.png>')")
    page.evaluate(AXE)
    report = page.evaluate("axe.run(document, {runOnly: ['image-alt']})")
    context.close()
    assert [v["impact"] for v in report["violations"]] == ["critical"]


def test_another_hosts_script_would_be_noticed(visit: Visit):
    page = visit.open(FRONT)
    page.evaluate(
        "document.head.append(Object.assign(document.createElement('script'), {src: 'https://cdn.invalid/x.js'}))"
    )
    page.wait_for_function("performance.now() > 0")
    page.wait_for_timeout(50)
    assert any("cdn.invalid" in complaint for complaint in visit.complaints)


def test_search_finds_pages_without_a_server(visit: Visit):
    page = visit.open("search.html", "?q=fencing")
    page.wait_for_selector("#search-results li a")
    assert "glossary.html" in " ".join(
        page.eval_on_selector_all("#search-results li a", "found => found.map(a => a.href)")
    )
    assert visit.complaints == []


def test_search_is_reached_by_keyboard(visit: Visit):
    page = visit.open(FRONT)
    page.keyboard.press("Control+k")
    page.keyboard.type("preference list")
    page.keyboard.press("Enter")
    page.wait_for_selector("#search-results li a")
    assert page.url.split("?")[0].endswith("search.html")


def test_the_theme_switch_takes_effect_and_diagrams_follow(visit: Visit):
    page = visit.open("book/how-to-use.html")
    fill = "getComputedStyle(document.querySelector('.mermaid .node rect')).fill"
    background = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(f"[{fill}, {background}]")
    for _ in range(3):  # the switch goes round light, dark and what the system says
        if page.evaluate("document.documentElement.dataset.theme") == "dark":
            break
        page.locator("button.theme-switch-button").first.click()
    page.wait_for_function("document.documentElement.dataset.diagrams === 'dark'")
    after = page.evaluate(f"[{fill}, {background}]")
    assert before[0] != after[0]
    assert before[1] != after[1]


def test_diagrams_are_drawn_and_named_for_screen_readers(visit: Visit):
    page = visit.open("book/how-to-use.html")
    assert page.locator(".mermaid svg").count() == 1
    assert page.locator(".mermaid svg title").first.text_content() == "How a service call finds its server"


def test_code_can_be_copied(visit: Visit):
    page = visit.open(FRONT)
    assert page.locator("button.copybtn").count() >= 1


def test_the_first_tab_leads_past_the_menus(visit: Visit):
    page = visit.open(FRONT)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent").strip() == "Skip to main content"


@pytest.mark.parametrize("visit", [(PHONE, "light")], indirect=True)
def test_what_is_wider_than_a_phone_scrolls_inside_its_box_and_by_keyboard(visit: Visit):
    page = visit.open(CHAPTER)
    unreachable = page.evaluate(
        """[...document.querySelectorAll('article *')].filter(box => {
             const style = getComputedStyle(box);
             return ['auto', 'scroll'].includes(style.overflowX) && box.scrollWidth > box.clientWidth + 1
               && box.clientWidth > 0 && box.tabIndex < 0 && !box.querySelector('a, button, [tabindex="0"]');
           }).map(box => box.outerHTML.slice(0, 120))"""
    )
    assert unreachable == []


@pytest.mark.parametrize("visit", [(PHONE, "light")], indirect=True)
def test_figures_keep_their_shape_on_a_phone(visit: Visit):
    page = visit.open(CHAPTER)
    shapes = page.evaluate(
        """Promise.all([...document.querySelectorAll('article .cell_output img')].map(async figure => {
             figure.loading = 'eager';
             await figure.decode();
             return [figure.naturalWidth / figure.naturalHeight, figure.clientWidth / figure.clientHeight];
           }))"""
    )
    assert len(shapes) > 5
    assert [(drawn, shown) for drawn, shown in shapes if abs(shown / drawn - 1) > 0.03] == []


def test_front_page_map_marks_what_is_planned(visit: Visit):
    page = visit.open(FRONT)
    badges = page.locator(".kit-map .kit-badge").all_text_contents()
    assert badges.count("open") == len(chapters.ready())
    assert badges.count("planned") == len(chapters.CHAPTERS) - len(chapters.ready())


def test_formulas_are_typeset_from_the_site_itself(visit: Visit):
    page = visit.open(CHAPTER)
    if page.locator(".math").count():
        page.wait_for_selector("mjx-container svg")
    assert visit.complaints == []
