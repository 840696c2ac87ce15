"""The page of a tradeoff in a real browser: Chromium without a window, driven by Playwright."""

from pathlib import Path

import pytest

from edge_mpq.report import tradeoff_compare, tradeoff_compare_page, tradeoff_page
from edge_mpq.report.tradeoff_files import Side
from tests.report.tradeoffs import point, tradeoff

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
pytestmark = pytest.mark.slow


@pytest.fixture
def opened(chromium, tmp_path: Path):
    """Opens a page in a tab; afterwards no console error may have been seen, and no request but for the page."""
    faults, tabs = [], []

    def open_(source: str, width: int = 1200):
        (tmp_path / "page.html").write_text(source, encoding="utf-8")
        tab = chromium.new_page(viewport={"width": width, "height": 860})
        tab.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        tab.on("pageerror", lambda error: faults.append(str(error)))
        tab.on("request", lambda asked: faults.append(asked.url) if not asked.url.endswith("page.html") else None)
        tab.goto((tmp_path / "page.html").as_uri())
        tabs.append(tab)
        return tab

    yield open_
    for tab in tabs:
        tab.close()
    assert [fault for fault in faults if not fault.startswith("data:")] == []


SEEN = ".mark:not([hidden])"
WHERE = "(node) => node.getAttribute('transform')"


def mark(tab, words: str):
    return tab.locator(f'.mark[aria-label^="{words}"]')


def test_pointing_tells_a_plan_and_clicking_opens_its_layers(opened):
    tab, expect = opened(tradeoff_page.render(tradeoff())), playwright.expect
    expect(tab.locator(SEEN)).to_have_count(12)
    expect(tab.locator(".tips .hint")).to_be_visible()
    mark(tab, "mixed, 1 thread, batch 8").hover()
    told = tab.locator(".point-tip:not([hidden])")
    expect(told).to_have_count(1)
    expect(told).to_contain_text("mixed 1 thread, batch 8")
    expect(told).to_contain_text("size<=5bits")
    expect(tab.locator("table.all tr.marked")).to_contain_text("mixed")
    expect(tab.locator("details[open]")).to_have_count(0)
    mark(tab, "mixed, 1 thread, batch 8").click()
    layers = tab.locator("details[open]")
    expect(layers).to_have_count(1)
    expect(layers.locator("summary")).to_contain_text("mixed")
    expect(layers.locator("table.layers tbody tr")).to_have_count(22)
    tab.locator("table.all tr[data-plan=int8]").first.hover()
    expect(told).to_contain_text("int8")
    expect(tab.locator(".mark.here")).to_have_attribute("data-plan", "int8")
    tab.locator("table.all a", has_text="int8").first.click()
    expect(layers.locator("summary")).to_contain_text("int8")
    expect(layers.locator("summary")).to_be_focused()


def test_all_of_it_works_from_the_keyboard(opened):
    tab, expect = opened(tradeoff_page.render(tradeoff())), playwright.expect
    assert tab.evaluate(
        "[...document.querySelectorAll('input, button')].every((one) => one.labels?.length || one.textContent)"
    )
    assert tab.locator(".mark[tabindex='0']").count() == 1  # one stop of the Tab key
    tab.locator(".mark[tabindex='0']").focus()
    slowest = tab.locator(".point-tip:not([hidden])").text_content()
    tab.keyboard.press("ArrowRight")
    assert tab.locator(".point-tip:not([hidden])").text_content() != slowest
    tab.keyboard.press("End")
    expect(tab.locator(".point-tip:not([hidden])")).to_contain_text("mixed 1 thread, batch 8")
    assert tab.evaluate("getComputedStyle(document.activeElement.querySelector('.dot')).strokeWidth") == "2.5px"
    tab.keyboard.press("Enter")
    expect(tab.locator("details[open] summary")).to_be_focused()


def test_ticks_hide_points_and_the_front_is_that_of_what_is_left(opened):
    tab, expect = opened(tradeoff_page.render(tradeoff())), playwright.expect
    before = tab.locator("path.front").get_attribute("d")
    tab.get_by_role("checkbox", name="mixed").uncheck()
    expect(tab.locator(SEEN)).to_have_count(8)
    expect(tab.locator("table.all tbody tr:visible")).to_have_count(8)
    expect(tab.locator(".shown")).to_have_text("8 of 12 points in the picture")
    assert tab.locator("path.front").get_attribute("d") != before
    tab.get_by_role("group", name="Threads").get_by_role("checkbox", name="2").uncheck()
    expect(tab.locator(SEEN)).to_have_count(4)
    for name in ("fp32", "int8"):
        tab.get_by_role("checkbox", name=name).uncheck()
    expect(tab.locator(SEEN)).to_have_count(0)
    tab.get_by_role("checkbox", name="mixed").check()
    expect(tab.locator(SEEN)).to_have_count(2)


def test_one_looks_closer_and_back(opened):
    tab, expect = opened(tradeoff_page.render(tradeoff())), playwright.expect
    place = mark(tab, "mixed, 1 thread, batch 8").evaluate(WHERE)
    tab.get_by_role("radio", name="log").check()
    assert "logarithmic" in (tab.locator(".canvas svg").text_content() or "")
    assert mark(tab, "fp32, 1 thread, batch 1").evaluate(WHERE) != place
    tab.get_by_role("radio", name="linear").check()
    assert mark(tab, "mixed, 1 thread, batch 8").evaluate(WHERE) == place
    mark(tab, "mixed, 1 thread, batch 8").focus()
    tab.get_by_role("button", name="Closer", exact=True).click()
    assert tab.locator(SEEN).count() < 12
    expect(mark(tab, "mixed, 1 thread, batch 8")).to_be_visible()
    tab.keyboard.press("Escape")
    expect(tab.locator(SEEN)).to_have_count(12)
    box = mark(tab, "fp32, 1 thread, batch 1").bounding_box()
    tab.mouse.move(box["x"] - 30, box["y"] - 20)
    tab.mouse.down()
    tab.mouse.move(box["x"] + 20, box["y"] + 30, steps=4)
    expect(tab.locator(".lens")).to_be_visible()
    tab.mouse.up()
    assert 1 <= tab.locator(SEEN).count() < 6
    tab.get_by_role("button", name="All", exact=True).click()
    expect(tab.locator(SEEN)).to_have_count(12)
    tab.get_by_role("button", name="Front", exact=True).click()
    assert 3 <= tab.locator(SEEN).count()


def test_the_front_drawn_is_the_front_told(opened):
    tab = opened(tradeoff_page.render(tradeoff()))
    corners = tab.evaluate("document.querySelector('path.front').getAttribute('d').match(/H/g).length")
    assert corners == sum("on the front" in (tip.text_content() or "") for tip in tab.locator(".point-tip").all()) == 3


def test_names_meet_neither_each_other_nor_a_mark(opened):
    tab = opened(tradeoff_page.render(tradeoff()))
    boxes = [one.bounding_box() for one in tab.locator(".labels text").all()]
    dots = [one.bounding_box() for one in tab.locator(".mark .dot").all()]
    assert boxes

    def apart(a, b) -> bool:
        across = a["x"] + a["width"] <= b["x"] + 1 or b["x"] + b["width"] <= a["x"] + 1
        return across or a["y"] + a["height"] <= b["y"] + 3 or b["y"] + b["height"] <= a["y"] + 3

    for index, box in enumerate(boxes):
        assert all(apart(box, other) for other in (*boxes[:index], *dots))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_prints(opened, scheme):
    tab = opened(tradeoff_page.render(tradeoff()), width=360)
    tab.emulate_media(color_scheme=scheme)
    assert tab.evaluate("document.documentElement.scrollWidth") == 360
    wide = tab.locator(".canvas svg").get_attribute("viewBox").split()[2]
    assert int(wide) == round(tab.locator(".canvas").bounding_box()["width"])  # its letters are no smaller
    tab.emulate_media(media="print", color_scheme=scheme)
    assert not tab.locator(".view").is_visible() and not tab.locator(".tips").is_visible()
    assert tab.locator(SEEN).count() == 12
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_two_runs_stand_in_one_picture_and_their_pairs_are_joined(opened):
    slower = tradeoff(points=[point(one.plan, one.threads, one.batch, 0.7 * one.fps) for one in tradeoff().points])
    result = tradeoff_compare.compare([Side("desk", tradeoff()), Side("board", slower)])
    tab, expect = opened(tradeoff_compare_page.render(result)), playwright.expect
    expect(tab.locator(SEEN)).to_have_count(24)
    expect(tab.locator(".join:not([hidden])")).to_have_count(12)
    tab.get_by_role("group", name="Plan").get_by_role("checkbox", name="fp32").uncheck()
    expect(tab.locator(".join:not([hidden])")).to_have_count(8)
    tab.get_by_role("group", name="Run").get_by_role("checkbox", name="board").uncheck()
    expect(tab.locator(SEEN)).to_have_count(8)
    expect(tab.locator(".join:not([hidden])")).to_have_count(0)
    expect(tab.locator("#pairs ~ * tbody tr")).to_have_count(12)
