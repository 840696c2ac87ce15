"""The page in a real browser: Chromium without a window, driven by Playwright (``pip install edge-mpq[browser]``)."""

import pytest

from tests.stream.page_of import pictures, served, write_engines, write_pictures

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
pytestmark = pytest.mark.slow


@pytest.fixture
def stream(tmp_path):
    camera = pictures(write_pictures(tmp_path / "pictures"), fps=10.0)
    with served(write_engines(tmp_path / "bundle"), camera, "0.0.0.0:0") as page:
        page.cookie = page.get("/?" + page.query).headers["Set-Cookie"].partition(";")[0]
        yield page


@pytest.fixture
def opened(chromium, stream):
    """A tab with the page, after which no console error may have been seen."""
    faults: list[str] = []
    tab = chromium.new_page(viewport={"width": 1280, "height": 820})
    tab.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: faults.append(str(error)))
    tab.goto(f"http://127.0.0.1:{stream.port}/?{stream.query}")
    playwright.expect(tab.locator("#state")).to_have_text("live")
    playwright.expect(tab.locator("#label")).to_have_text("no fire")
    yield tab
    tab.close()
    assert faults == []


PIXEL = "document.getElementById('picture').getContext('2d').getImageData(300, 200, 1, 1).data.join()"


def test_the_picture_moves_and_the_token_leaves_the_address(opened, stream):
    assert opened.url == f"http://127.0.0.1:{stream.port}/"
    seen = set()
    for _ in range(100):
        seen.add(opened.evaluate(PIXEL))
        if len(seen) > 1:
            break
        opened.wait_for_timeout(20)
    assert len(seen) > 1
    opened.reload()
    playwright.expect(opened.locator("#state")).to_have_text("live")


def test_every_control_works_from_the_keyboard(opened, stream):
    expect = playwright.expect
    opened.keyboard.press("2")
    expect(opened.get_by_role("radio", name="int8")).to_be_checked()
    expect(opened.locator("#label")).to_have_text("fire")
    expect(opened.locator("#spoken")).to_have_text("int8 answers now.")
    opened.get_by_role("radio", name="int8").focus()
    opened.keyboard.press("ArrowUp")
    stream.until(lambda told: told["engine"] == "fp32")
    # fp32 sees fire at 73 %.
    opened.get_by_role("slider").focus()
    opened.keyboard.press("End")
    expect(opened.locator("#threshold-text")).to_have_text("99 %")
    expect(opened.locator("#label")).to_have_text("no fire")
    stream.until(lambda told: told["threshold"] == 0.99)
    opened.get_by_role("combobox", name="Watch for").select_option("no fire")
    stream.until(lambda told: told["watched"] == 0)
    opened.locator("h1").click()
    opened.keyboard.press("f")
    expect(opened.locator("#spoken")).to_contain_text("frames a second, median")


def test_tab_reaches_every_control_and_each_has_a_name(opened):
    reached = []
    for _ in range(6):
        opened.keyboard.press("Tab")
        reached.append(opened.evaluate("document.activeElement.id || document.activeElement.value"))
        ring = "getComputedStyle(document.activeElement.closest('.engine') || document.activeElement).outlineStyle"
        assert opened.evaluate(ring) == "solid", reached
    assert reached == ["snapshot", "last", "record", "watched", "threshold", "model"]
    assert opened.evaluate("[...document.querySelectorAll('select, input')].every((one) => one.labels.length)")


def test_what_is_saved_comes_as_a_file(opened):
    for key, start in (("s", "picture-"), ("l", "last-seconds-")):
        with opened.expect_download() as download:
            opened.keyboard.press(key)
        assert download.value.suggested_filename.startswith(start)
    opened.keyboard.press("r")
    button = opened.get_by_role("button", name="Stop and save")
    playwright.expect(button).to_have_attribute("aria-pressed", "true")
    opened.wait_for_timeout(500)
    with opened.expect_download() as download:
        button.click()
    assert download.value.suggested_filename.startswith("recording-")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_can_be_read(opened, scheme):
    opened.emulate_media(color_scheme=scheme)
    opened.set_viewport_size({"width": 360, "height": 740})
    assert opened.evaluate("document.documentElement.scrollWidth") == 360
    assert opened.locator("#picture").bounding_box()["width"] == 360
    touched = [one.bounding_box() for one in opened.locator(".tools > *, .engine").all()]
    assert len(touched) == 6 and all(box["height"] >= 44 for box in touched)
    dim = opened.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"
    assert dim == (scheme == "dark")
    for selector in ("body", "#source", "#label", ".hint", ".unit", "h2"):
        ratio = opened.evaluate(CONTRAST, selector)
        assert ratio >= 4.5, (selector, ratio)


# As WCAG 2 defines it, against the ground of the page.
CONTRAST = """(selector) => {
  const light = (colour) => {
    const linear = (c) => (c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4);
    const [r, g, b] = colour.match(/[\\d.]+/g).map((part) => linear(part / 255));
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const style = (selected) => getComputedStyle(document.querySelector(selected));
  const one = light(style(selector).color), two = light(style("body").backgroundColor);
  return (Math.max(one, two) + .05) / (Math.min(one, two) + .05);
}"""


def test_an_engine_that_fails_and_a_program_that_ends_are_told(chromium, tmp_path):
    folder = write_engines(tmp_path / "bundle")
    (folder / "int8.npz.json").unlink()
    tab = chromium.new_page()
    with served(folder, pictures(write_pictures(tmp_path / "pictures"))) as page:
        tab.goto(page.url)
        playwright.expect(tab.locator("#state")).to_have_text("live")
        tab.get_by_role("radio", name="int8").click()
        playwright.expect(tab.locator(".role-int8 .fault")).to_contain_text("no engine-card")
        playwright.expect(tab.get_by_role("radio", name="mixed")).to_be_checked()
    playwright.expect(tab.locator("#notice-head")).to_have_text("No answer from the board", timeout=15000)
    tab.close()


def test_what_a_view_tells_stands_below_the_answer(chromium, tmp_path):
    logits = [[[[-2.0] * 16] * 8 + [[1.0] * 16] * 8]]
    folder = write_engines(tmp_path / "bundle", "segment", {"model": logits})
    with served(folder, pictures(write_pictures(tmp_path / "pictures"), fps=10.0)) as page:
        tab = chromium.new_page()
        tab.goto(f"http://127.0.0.1:{page.port}/")
        playwright.expect(tab.locator("#told dt")).to_have_text(["fire_share", "hot_spots"])
        playwright.expect(tab.locator("#told dd").nth(1)).to_have_text("1")
        tab.close()
