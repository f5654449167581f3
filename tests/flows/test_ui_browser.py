"""The user interfaces as a person meets them, in a headless Chromium."""

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.entities import Run
from selenium.webdriver.common.by import By

from tests.flows.browser import CHROMIUM, DRIVER, MISSING, Browser, open_browser
from tests.flows.conftest import Workspace, run_pair

pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason=MISSING)
ROWS = ".ag-pinned-left-cols-container .ag-row"
LINES = ".scatterlayer .trace .lines path"


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    """A window of its own."""
    with open_browser(tmp_path) as opened:
        yield opened


@pytest.fixture(scope="module")
def workspace(checkout: Workspace) -> Workspace:
    """With a store of its own: the page of experiments shows only so many."""
    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{checkout.root / 'seen.db'}"}
    return Workspace(checkout.root, checkout.environment | store)


@pytest.fixture(scope="module")
def pair(workspace: Workspace, served: Workspace) -> tuple[Run, Run]:
    """Two runs to compare."""
    return run_pair(Workspace(served.root, served.environment | workspace.environment))


@pytest.fixture(scope="module")
def ui(workspace: Workspace, pair: tuple[Run, Run]) -> Iterator[list[str]]:
    """make ui, and the lines that it prints."""
    process = workspace.start("flows.ui")
    yield [process.stdout.readline() for _ in range(4)]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)


def address(ui: list[str]) -> str:
    """Where MLflow's UI is."""
    return re.search(r"^MLflow: +(\S+)", ui[0]).group(1)


def select(browser: Browser, run: str) -> None:
    """Tick the box of a run in the table."""

    def tick() -> bool:
        rows = [row for row in browser.all(ROWS) if run in row.text.splitlines()]
        for row in rows:
            row.find_element(By.CSS_SELECTOR, ".ag-selection-checkbox").click()
        return bool(rows)

    browser.until(tick, f"the run {run}")


def curves(browser: Browser) -> set[str]:
    """The colours of the lines drawn, each line of more than a few points."""
    drawn = [line for line in browser.all(LINES) if line.get_attribute("d").count("L") >= 5]
    return {line.value_of_css_property("stroke") for line in drawn}


def test_two_runs_are_found_selected_and_compared_in_mlflows_ui(
    browser: Browser, ui: list[str], pair: tuple[Run, Run]
) -> None:
    plain, changed = (run.info.run_name for run in pair)
    browser.go(address(ui))
    browser.click(By.XPATH, "//*[text()='Model training']")
    browser.follow("pair")
    browser.follow("The columns that matter")
    browser.read("What matters", "train_rmse", "optimality_gap", plain, changed)
    select(browser, plain)
    select(browser, changed)
    browser.click(By.CSS_SELECTOR, "[data-testid=runs-compare-button]")
    browser.read("Comparing 2 Runs", "training.seed")

    browser.click(By.CSS_SELECTOR, "[aria-label='Parameters - Show diff only']")
    browser.until(lambda: "training.seed" not in browser.text, "only what differs")
    details = browser.text.split("Run details")[1].split("Metrics")[0]
    assert "training.epochs 1000 500" in details
    assert "training.learning_rate 0.01 0.05" in details

    browser.follow("loss")
    browser.read(f"{plain} (loss)", f"{changed} (loss)")
    browser.until(lambda: len(curves(browser)) == 2, "a curve for each run")


def test_the_printed_address_opens_the_latest_runs_with_the_columns_that_matter(
    browser: Browser, ui: list[str], workspace: Workspace
) -> None:
    printed = re.search(r"^The latest runs: (\S+)$", ui[3]).group(1)
    assert printed.startswith(f"{address(ui)}/#/experiments/")
    experiment = re.search(r"/experiments/(\w+)/", printed).group(1)
    newest = workspace.client.search_runs([experiment], max_results=1)[0]
    browser.go(printed)
    browser.read("What matters", newest.info.run_name, "train_rmse", "training.optimizer")
    browser.go(f"{printed}&compareRunsMode=CHART")
    browser.until(lambda: curves(browser), "the loss of the runs")
    scores = re.compile(r"Model metrics.*?loss.*?train_rmse.*?optimality_gap", re.DOTALL)
    first = browser.until(lambda: scores.search(browser.text), "losses and scores")
    assert "files_" not in first[0]


def test_a_runs_page_says_how_it_ended_and_leads_to_its_flow_run(
    browser: Browser, ui: list[str], pair: tuple[Run, Run]
) -> None:
    run = pair[1]
    browser.go(f"{address(ui)}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}")
    browser.read("Finished after 500 epochs: train_rmse", "sgd, learning rate 0.05")
    link = browser.driver.find_element(By.LINK_TEXT, "Prefect run").get_attribute("href")
    assert link == (f"http://127.0.0.1:4200/runs/flow-run/{run.data.tags['prefect_flow_run_id']}")


def test_the_report_opens_without_a_network_with_its_table_and_picture(
    browser: Browser, workspace: Workspace, pair: tuple[Run, Run], tmp_path: Path
) -> None:
    report = tmp_path / "report.html"
    done = workspace.run("flows.compare", "--experiment", "pair", "--out", str(report))
    assert done.status == 0, done.err
    browser.go(report.as_uri())
    browser.read("Experiment 'pair': 2 runs", "training.learning_rate", "train_rmse")
    table = browser.driver.find_element(By.ID, "metrics")
    assert table.is_displayed()
    assert re.search(r"train_rmse 0\.02284 \S+ \*", table.text.replace("\n", " "))
    picture = browser.driver.find_element(By.TAG_NAME, "svg")
    assert picture.size["width"] > 300
    assert all(run.info.run_name in picture.text for run in pair)
    fetched = "return performance.getEntriesByType('resource').map(entry => entry.name)"
    assert browser.driver.execute_script(fetched) == []
    assert browser.driver.get_log("browser") == []
