"""The report opens in a real browser, and a reader finds tables, figures, configuration and provenance in it."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1500,1000",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no browser: install the packages chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for option in (*OPTIONS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(option)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def report(finished, tiny) -> Path:
    path = finished.folder / "results/tiny/report.html"
    answer = finished.snakemake("--report", path, config=tiny)
    assert answer.returncode == 0, answer.stdout
    assert "Warning" not in answer.stdout
    return path


@pytest.fixture
def menu(browser: webdriver.Chrome, report: Path) -> Callable[..., list[str]]:
    """Open the report afresh and return what clicks through its menu and returns the lines then shown."""
    browser.get(report.as_uri())

    def click(*steps: str) -> list[str]:
        for step in steps:
            xpath = f"//*[normalize-space(text())='{step}']"
            WebDriverWait(browser, 20).until(lambda page, at=xpath: page.find_elements(By.XPATH, at))[0].click()
        return browser.find_element(By.TAG_NAME, "body").text.splitlines()

    return click


def test_the_first_page_says_what_it_is_and_that_the_data_are_synthetic(browser, menu):
    shown = "\n".join(menu("1 Summary"))
    assert "fedbench" in shown
    assert "synthetic data" in shown


@pytest.mark.parametrize(
    ("steps", "names"),
    [
        (("2 Tables", "Ours"), ["gsfs-table1", "gsfs-table2", "gsfs-table3", "edge-fit-table3", "edge-fit-table4"]),
        (("2 Tables", "Ours"), ["data-iot23", "data-dolly", "leakage", "runs"]),
        (("2 Tables", "Beside the papers"), ["gsfs-table2-verdict", "edge-fit-table3-verdict"]),
        (("3 Figures",), ["gsfs-fig2"]),
        (("4 Configuration",), ["resolved configuration"]),
        (("5 Provenance",), ["manifest"]),
    ],
)
def test_the_menu_leads_to(menu, steps, names):
    assert set(names) <= set(menu(*steps))


def test_the_summary_page_holds_every_table_with_its_rows(browser, finished):
    folder = finished.folder / "results/tiny"
    browser.get((folder / "summary.html").as_uri())
    assert len(browser.find_elements(By.CSS_SELECTOR, "table")) >= len(list((folder / "tables").glob("*.html")))
    text = browser.execute_script("return document.body.textContent")
    assert "tiny BERT (random weights)" in text
    assert "reproduced" in text
    assert not [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
