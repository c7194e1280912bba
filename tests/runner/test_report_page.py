"""The page in Chromium: what it shows at every width, and that it works by pointer and by keys."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from goodshot.runner.report import write_report
from goodshot.runner.report.rendering import Renderer
from goodshot.runner.run.options import Options
from tests.runner.large_outputs import SMALL_GRID, write_sweep
from tests.runner.report_pages import write_small_study

pytestmark = pytest.mark.browser

NAMES = ("chromium", "chromium-browser", "google-chrome")
PHONE, LAPTOP, PAPER = 375, 1280, 718
"""Widths in pixels; of paper that of an A4 page within its margins."""


KINDS = ("nav a", "input", "th button", "td button", ".wide", ".picture", "summary")
"""What the tab key leads to, as CSS selectors."""


SHOWN_LINES, LINES = 20, 2 * (18 + 3 + 1)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("Chromium is not installed; CHROMIUM can name it")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def sweep(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a sweep over two categories and two supports, with a table that does not show all lines at first."""
    out = tmp_path_factory.mktemp("sweep")
    write_sweep(out, photographs, 2, 2, SMALL_GRID)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Renderer, "shown_lines", SHOWN_LINES)
        return write_report(Options(str(out)))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a study with one point."""
    return write_report(Options(str(write_small_study(tmp_path_factory.mktemp("small")))))


@pytest.fixture
def opened(chromium: Any) -> Iterator[Any]:
    """Opens a page; whatever it writes to the console, or asks from elsewhere, fails the test."""
    heard: list[str] = []
    contexts = []

    def open_page(file: str, width: int = LAPTOP, scheme: str = "light", media: str = "screen") -> Any:
        context = chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: heard.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("request", lambda request: request.url.startswith(("file:", "data:")) or heard.append(request.url))
        page.emulate_media(media=media, color_scheme=scheme)
        page.goto(f"file://{file}")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert heard == []


def wait_for_charts(page: Any) -> int:
    page.wait_for_function(
        "[...document.querySelectorAll('figure.chart')].every((f) => f.dataset.drawn === 'done')", timeout=120_000
    )
    sizes = page.evaluate(
        "[...document.querySelectorAll('figure.chart svg')].map((s) => s.getBoundingClientRect().width)"
    )
    assert all(width > 100 for width in sizes)
    assert len(sizes) == page.locator("figure.chart").count()
    return len(sizes)


@pytest.mark.parametrize(
    ("name", "width", "scheme", "media"),
    [
        ("sweep", PHONE, "light", "screen"),
        ("small", PHONE, "dark", "screen"),
        ("sweep", LAPTOP, "dark", "screen"),
        ("small", LAPTOP, "light", "screen"),
        ("sweep", PAPER, "dark", "print"),
    ],
)
def test_it_is_whole_readable_and_fits(
    opened: Any, request: pytest.FixtureRequest, name: str, width: int, scheme: str, media: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = opened(request.getfixturevalue(name), width, scheme, media)
    assert wait_for_charts(page) >= 8
    images = page.evaluate("[...document.querySelectorAll('main img')].map((i) => i.complete && i.naturalWidth)")
    assert images
    assert all(images)
    page.locator("summary").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = axe.run(page).response["violations"]
    assert [(v["id"], v["nodes"][0]["html"]) for v in found if v["impact"] in ("serious", "critical")] == []


def test_charts_are_drawn_before_printing(opened: Any, sweep: str) -> None:
    page = opened(sweep)
    assert page.locator("figure.chart[data-drawn=done]").count() < page.locator("figure.chart").count()
    pdf = page.pdf(format="A4")
    assert wait_for_charts(page) >= 15
    assert pdf.count(b"/Type /Page\n") > 3


def texts(page: Any, column: int) -> list[str]:
    found = page.evaluate(
        "(c) => [...document.querySelector('.results tbody').rows].filter((r) => !r.hidden)"
        ".map((r) => r.cells[c].textContent)",
        column,
    )
    return [text.strip() for text in found]


def test_a_table_is_sorted_by_its_headings(opened: Any, sweep: str) -> None:
    page = opened(sweep)
    heads = page.locator(".results thead th").all_inner_texts()
    column = heads.index("image AUROC")
    assert len(texts(page, column)) == SHOWN_LINES
    heading = page.locator(".results thead th").nth(column)
    heading.locator("button").focus()
    before = texts(page, 2)
    for order in ("descending", "ascending", "none"):
        page.keyboard.press("Enter")
        assert heading.get_attribute("aria-sort") == order
        numbers = [float(text.split(" ")[0]) for text in texts(page, column)]
        assert len(numbers) == LINES
        if order != "none":
            assert numbers == sorted(numbers, reverse=order == "descending")
    assert texts(page, 2)[:SHOWN_LINES] == before
    # Lines without a value come last in either order.
    weight = page.locator(".results thead th").nth(heads.index("λ")).locator("button")
    weight.click()
    assert texts(page, heads.index("λ"))[0] == "3"
    weight.click()
    assert texts(page, heads.index("λ"))[0] == "0.3"
    assert texts(page, heads.index("λ"))[-1] == ""


def test_a_table_is_filtered_by_words(opened: Any, sweep: str) -> None:
    page = opened(sweep)
    page.locator(".results input").fill("augmented 01")
    page.wait_for_function("document.querySelector('.results [role=status]').textContent === '3 of 44 lines'")
    assert set(texts(page, 0)) == {"category 01"}
    page.locator(".results input").fill("")
    page.wait_for_function("document.querySelector('.results [role=status]').textContent === '44 lines'")
    assert len(texts(page, 0)) == LINES


def test_a_long_table_shows_its_other_lines_on_demand(opened: Any, sweep: str) -> None:
    page = opened(sweep)
    page.locator(".results .action").click()
    assert len(texts(page, 0)) == LINES
    assert page.locator(".results .more").count() == 0


def test_a_number_opens_its_rows_and_leads_to_its_neighbours(opened: Any, small: str) -> None:
    page = opened(small)
    numbers = page.locator(".results td button")
    assert page.locator(".results td button[tabindex='0']").count() == 1
    numbers.first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    focused = "document.activeElement.textContent"
    assert page.evaluate(focused) == "0.755 ± 0.007"
    page.keyboard.press("Enter")
    dialog = page.locator("#rows-dialog")
    assert dialog.is_visible()
    assert "rests on 2 rows" in dialog.inner_text()
    assert "results/*.parquet" in dialog.inner_text()
    lines = dialog.locator("tbody tr").all_inner_texts()
    assert lines == [
        "brick-0-augm\tbrick\taugmented, copies = 2\tsupport 0\t0\t0.75",
        "brick-1-augm\tbrick\taugmented, copies = 2\tsupport 1\t1\t0.76",
    ]
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert page.evaluate(focused) == "0.755 ± 0.007"


def test_a_difference_names_the_rows_of_both_arms(opened: Any, small: str) -> None:
    page = opened(small)
    page.locator(".results td button", has_text="+0.100").first.click()
    arms = page.locator("#rows-dialog tbody td:nth-child(3)").all_inner_texts()
    assert sorted(arm.split(",")[0] for arm in arms) == ["generated", "generated", "original", "original"]
    page.locator("#rows-dialog .close").click()
    assert not page.locator("#rows-dialog").is_visible()


def test_a_picture_is_enlarged_by_key_and_by_click(opened: Any, small: str) -> None:
    page = opened(small)
    dialog, shown = page.locator("#picture-dialog"), page.locator("#picture-dialog img")
    page.locator(".galleries .picture").first.focus()
    page.keyboard.press("Space")
    assert shown.get_attribute("alt") == "Original photograph 1 of brick"
    assert shown.evaluate("(image) => image.complete && image.clientWidth > 300")
    page.keyboard.press("ArrowRight")
    assert shown.get_attribute("alt") == "Generated image 1 of brick"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert shown.get_attribute("alt") == "Generated image 2 of brick"
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    # The focus moves when the browser has closed the dialog.
    page.wait_for_function("document.activeElement.querySelector('img')?.alt === 'Generated image 2 of brick'")
    page.locator(".anomaly_maps .picture").first.click()
    page.locator("#picture-dialog [data-step='1']").click()
    assert "Test image stain/0.png of brick" in str(shown.get_attribute("alt"))


def test_everything_is_reached_by_the_tab_key(opened: Any, sweep: str) -> None:
    page = opened(sweep)
    kinds, visible = set(), set()
    for _ in range(600):
        page.keyboard.press("Tab")
        kind, outline = page.evaluate(
            """(kinds) => {
              const a = document.activeElement;
              const of = (selector) => a.matches(selector);
              return [kinds.find(of) ?? a.tagName, getComputedStyle(a).outlineStyle];
            }""",
            KINDS,
        )
        if kind == "BODY":
            break
        kinds.add(kind)
        visible.add(outline)
    assert kinds >= {*KINDS}
    assert "none" not in visible


@pytest.mark.slow
def test_fifty_thousand_rows_and_five_hundred_pictures(chromium: Any, photographs: Path, tmp_path: Path) -> None:
    rows = write_sweep(tmp_path, photographs, 23, 14)
    file = write_report(Options(str(tmp_path)))
    page = chromium.new_page(viewport={"width": LAPTOP, "height": 800})
    page.goto(f"file://{file}")
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    pictures, size = page.locator("main img").count(), Path(file).stat().st_size
    # The time depends on what else the machine does, so it is read and not asserted.
    print(f"{rows} rows, {pictures} pictures: {size / 1e6:.1f} MB, first contentful paint after {paint:.0f} ms")
    assert pictures >= 500
    assert size <= 15e6
    page.close()
