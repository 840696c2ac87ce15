"""One setting for all property tests: a slow machine is no failure, so examples have no deadline.  And a browser."""

import shutil

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("edge-mpq", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("edge-mpq")

CHROMIUM = [path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))]


@pytest.fixture(scope="module")
def chromium():
    """Chromium without a window, driven by Playwright (``pip install edge-mpq[browser]``)."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        try:
            browser = driver.chromium.launch(
                executable_path=CHROMIUM[0] if CHROMIUM else None, args=["--no-sandbox", "--disable-gpu"]
            )
        except playwright.Error as error:
            pytest.skip(f"no Chromium starts here: {error.message.splitlines()[0]}")
        yield browser
        browser.close()
