"""The page in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from robustness.playground.menu import QUERIES

if TYPE_CHECKING:
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

    from robustness.playground.lab import Lab


class Page:
    """What a test does on the page."""

    def __init__(self, browser: Chrome, address: str) -> None:
        self.browser = browser
        browser.get_log("browser")  # type: ignore[no-untyped-call]
        browser.set_window_size(1200, 900)
        browser.get(address)
        self.until(lambda: self.at("go").is_enabled())

    def at(self, name: str) -> WebElement:
        return self.browser.find_element("id", name)

    def set(self, name: str, value: str) -> None:
        self.at(name).clear()
        self.at(name).send_keys(value)

    def choose(self, name: str, value: str) -> None:
        from selenium.webdriver.support.select import Select

        Select(self.at(name)).select_by_value(value)

    def choices(self, name: str) -> list[str]:
        from selenium.webdriver.support.select import Select

        return [str(one.get_attribute("value")) for one in Select(self.at(name)).options]

    def until(self, condition: Callable[[], Any]) -> None:
        from selenium.webdriver.support.wait import WebDriverWait

        WebDriverWait(self.browser, 20).until(lambda _: condition())

    def run(self) -> None:
        self.at("go").click()
        self.until(lambda: self.at("go").is_enabled() and "Trying" not in self.at("message").text)

    def first_label(self, side: str) -> str:
        return self.at(side).find_element("css selector", "li span").text

    def faults(self) -> list[Any]:
        """Errors and violations of the content policy in the console."""
        log = self.browser.get_log("browser")  # type: ignore[no-untyped-call]
        return [line for line in log if line["level"] in ("SEVERE", "WARNING")]


@pytest.fixture
def page(browser: Chrome, address: str) -> Page:
    return Page(browser, address)


def test_pgd_changes_the_prediction_and_the_console_stays_empty(page: Page) -> None:
    page.set("index", "3")
    page.set("size", "0.5")
    page.run()
    assert "no longer says" in page.at("message").text
    assert page.first_label("before") != page.first_label("after")
    assert "--first 3" in page.at("command").text
    assert page.browser.execute_script(
        "return [...document.querySelectorAll('article img')].every(i => i.naturalWidth > 0)"
    )
    assert page.faults() == []


def test_the_menus_are_what_the_lab_offers(page: Page, lab: Lab) -> None:
    about = lab.about()
    assert page.choices("attack") == [*(one["name"] for one in about["attacks"]), "none"]
    assert page.choices("defence") == about["defences"]
    assert not page.at("places").is_displayed()
    for attack in about["attacks"]:
        page.choose("attack", attack["name"])
        assert page.choices("threat") == attack["threats"]
        assert attack["source"] in page.at("knows").text
        size = float(str(page.at("size").get_attribute("value")))
        assert size == about["threats"][attack["threats"][0]]["size"]
        page.choose("attack", "none")


def test_a_patch_behind_a_defence_has_no_verdict(page: Page) -> None:
    page.choose("attack", "patch")
    page.choose("defence", "jpeg:75")
    page.run()
    assert "of the pixels changed" in page.at("change").text
    assert "no verdict" in page.at("after").text
    assert "calibrated without this defence" in page.at("notes").text
    assert page.faults() == []


def test_the_command_line_is_copied(page: Page) -> None:
    page.run()
    page.browser.execute_cdp_cmd(  # type: ignore[no-untyped-call]
        "Browser.grantPermissions",
        {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]},
    )
    page.at("copy").click()
    page.until(lambda: page.at("copy").text == "Copied")
    read = "navigator.clipboard.readText().then(arguments[0])"
    assert page.browser.execute_async_script(read) == page.at("command").get_attribute(
        "textContent"
    )
    assert page.at("command").text.startswith("torchkeep evaluate")


def test_square_asks_the_running_server(browser: Chrome, address_with_server: str) -> None:
    page = Page(browser, address_with_server)
    assert "serves this artifact" in page.at("about").text
    page.choose("place", "server")
    assert not page.at("defence").is_enabled()
    assert not page.at("policy").is_enabled()
    assert "as a copy" in page.at("where").text
    page.choose("attack", "square")
    assert f"at most {QUERIES} times" in page.at("where").text
    page.set("index", "3")
    page.set("size", "0.6")
    page.run()
    assert "no longer says" in page.at("message").text
    assert "asked the server" in page.at("change").text
    assert page.at("command").text.startswith("torchkeep attack http://127.0.0.1:")
    page.choose("attack", "pgd")
    page.run()
    assert "asks no server" in page.at("remark").text
    assert page.faults() == []


def test_without_attack_nothing_changes(page: Page) -> None:
    page.choose("attack", "none")
    assert not page.at("size").is_enabled()
    page.run()
    assert page.at("remark").text.startswith("None")
    assert not page.at("command").is_displayed()
    assert page.first_label("before") == page.first_label("after")
    assert "L∞ distance 0" in page.at("change").text


def test_an_error_of_the_server_is_told(page: Page) -> None:
    page.browser.execute_script("document.getElementById('index').removeAttribute('max')")
    page.set("index", "999999")
    page.run()
    assert "there is no test image 999999" in page.at("message").text
    assert not page.at("outcome").is_displayed()


def test_an_upload_is_tried_out(page: Page, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), (200, 30, 90)).save(tmp_path / "mine.png")
    page.at("file").send_keys(str(tmp_path / "mine.png"))
    page.until(lambda: page.at("forget").is_displayed())
    page.run()
    assert "resized from 40 × 30" in page.at("notes").text
    assert "not uploads" in page.at("remark").text
    assert page.faults() == []


def test_a_narrow_screen_needs_no_sideways_scrolling(page: Page) -> None:
    page.browser.execute_cdp_cmd(  # type: ignore[no-untyped-call]
        "Emulation.setDeviceMetricsOverride",
        {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True},
    )
    try:
        page.run()
        sizes = "return [document.documentElement.scrollWidth, window.innerWidth]"
        assert page.browser.execute_script(sizes) == [360, 360]
    finally:
        page.browser.execute_cdp_cmd(  # type: ignore[no-untyped-call]
            "Emulation.clearDeviceMetricsOverride", {}
        )


def test_the_keyboard_alone_is_enough(page: Page) -> None:
    from selenium.webdriver import ActionChains, Keys

    for _ in range(20):
        ActionChains(page.browser).send_keys(Keys.TAB).perform()
        if page.browser.switch_to.active_element.get_attribute("id") == "go":
            break
    ActionChains(page.browser).send_keys(Keys.ENTER).perform()
    page.until(lambda: page.at("outcome").is_displayed())


def test_every_field_has_a_label(page: Page) -> None:
    unnamed = "return [...document.querySelectorAll('input,select')].filter(f => !f.labels.length)"
    assert page.browser.execute_script(unnamed) == []
