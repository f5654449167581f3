"""A headless Chromium, and what a person does with a page: look, click, wait for what comes."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from selenium.common.exceptions import WebDriverException
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
DRIVER = shutil.which("chromedriver")
MISSING = "no Chromium with its driver here (Debian: apt-get install chromium chromium-driver)"
PATIENCE_SECONDS = 180  # for one thing to appear; a loaded machine takes a minute
# As root, without a display, and asking nothing of the network but pages of this machine.
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--window-size=1900,1000",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip


class Browser:
    """A window, with waits in place of pauses."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    @property
    def text(self) -> str:
        """All that can be read on the page."""
        return self.driver.find_element(By.TAG_NAME, "body").text

    def go(self, address: str) -> None:
        """Open a page anew, also where only the part after # differs."""
        self.driver.get("about:blank")
        self.driver.get(address)

    def all(self, css: str) -> list[WebElement]:
        """What fits a selector now."""
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def until(self, what: Callable[[], object], told: str) -> object:
        """The first true value of a question that may fail while the page is changing."""

        def ask(_: Chrome) -> object:
            with contextlib.suppress(WebDriverException):
                return what()
            return None

        return WebDriverWait(self.driver, PATIENCE_SECONDS, 0.2).until(ask, f"not seen: {told}")

    def read(self, *words: str) -> None:
        """Wait until the page says all of these."""
        for each in words:
            self.until(lambda each=each: each in self.text, each)

    def click(self, by: str, what: str) -> None:
        """Click something as soon as it can be clicked."""

        def try_to() -> bool:
            self.driver.find_element(by, what).click()
            return True

        self.until(try_to, what)

    def follow(self, link: str) -> None:
        """Click a link, and go on in the window that it opens where it opens one."""
        windows = set(self.driver.window_handles)
        self.click(By.LINK_TEXT, link)
        for new in set(self.driver.window_handles) - windows:
            self.driver.switch_to.window(new)


@contextlib.contextmanager
def open_browser(folder: Path) -> Iterator[Browser]:
    """A new window with an empty profile; what it showed last is printed, for a test that fails."""
    options = ChromeOptions()
    options.binary_location = CHROMIUM
    for option in (*OPTIONS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(option)
    driver = Chrome(options, Service(DRIVER))
    browser = Browser(driver)
    try:
        yield browser
    finally:
        picture = folder / "last.png"
        with contextlib.suppress(WebDriverException):
            driver.save_screenshot(str(picture))
            print(f"{driver.current_url}\n{browser.text}\n(screenshot: {picture})")
        driver.quit()
