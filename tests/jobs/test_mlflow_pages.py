"""MLflow's own pages of a finished search, as a person sees them, and a version that serves."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote
from urllib.request import ProxyHandler, Request, build_opener

import numpy as np
import pytest

from dexsearch.data.store import open_dataset
from dexsearch.inference.predict import load_predictor
from dexsearch.jobs.register import register_study
from dexsearch.jobs.sync import sync
from dexsearch.ledger.study import read_study
from dexsearch.registry.server import (
    ServerSettings,
    free_port,
    running_server,
    url_of,
    wait_until_it_answers,
)
from dexsearch.registry.store import open_registered
from dexsearch.registry.tracking import SAFE_ENVIRONMENT

pytestmark = pytest.mark.slow
MODEL = "dexsearch-joint"
EXPANDER = "[...document.querySelectorAll('.ag-row button')].find(b => !b.innerText)"
SAYS = "document.body.innerText.includes(%s)"
DRAWN = "[...document.images].filter(i => i.src.includes('get-artifact'))"
EXPECTED_COMPLAINTS = (
    "mlflow/users/current",  # who has logged in: nobody, without --auth
    "AG Grid:",  # deprecations inside MLflow's bundle
    "ResizeObserver",
    "WebGL",
)


def load(file: Path) -> ModuleType:
    spec = spec_from_file_location(f"pages_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


browser = load(Path(__file__).parents[1] / "browser.py")
Tab = Any  # browser.Page, which only `load` can name


@dataclass(frozen=True)
class Shown:
    """A finished search in MLflow."""

    workspace: Path
    url: str
    experiment: str
    runs: dict[str, str]
    """Name -> id."""

    def page(self, path: str) -> str:
        return f"{self.url}/#/{path}"


@pytest.fixture(scope="module")
def shown(_trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    from mlflow import MlflowClient

    workspace = tmp_path_factory.mktemp("pages") / "workspace"
    shutil.copytree(_trained, workspace)
    study = read_study(workspace / "studies" / "ribs")
    register_study(
        workspace, study, open_dataset(workspace / "datasets" / "small"), n=2, tell=print
    )
    sync(workspace, None, tell=print)
    with running_server(ServerSettings(workspace, port=0)) as (url, _):
        client = MlflowClient(url, url)
        experiment = client.get_experiment_by_name("dexsearch").experiment_id
        runs = client.search_runs([experiment])
        names = {run.info.run_name: run.info.run_id for run in runs}
        yield Shown(workspace, url, experiment, names)


@pytest.fixture(scope="module")
def tab() -> Iterator[Tab]:
    with browser.Page(browser.chromium_or_skip()) as page:
        page.call(
            "Emulation.setDeviceMetricsOverride", width=1500, height=1100, deviceScaleFactor=1,
            mobile=False,
        )  # fmt: skip
        yield page


def visit(tab: Tab, shown: Shown, path: str, text: str) -> None:
    """Open one of MLflow's pages anew and wait until it says something."""
    tab.open("about:blank")
    tab.open(shown.page(path))
    tab.wait_for(SAYS % json.dumps(text))


def keep(tab: Tab, name: str) -> None:
    """Keep a photograph to look at where DEXSEARCH_PHOTOGRAPHS says."""
    if folder := os.environ.get("DEXSEARCH_PHOTOGRAPHS"):
        tab.photograph(Path(folder, f"{name}.png"), width=1500, height=1100)


def check_quiet(tab: Tab, shown: Shown) -> None:
    """Nothing left this machine, and nothing complained but MLflow of itself."""
    elsewhere = [
        url for url in tab.requests() if not url.startswith((shown.url, "blob:", "about:"))
    ]
    assert elsewhere == []
    strange = [c for c in tab.complaints() if not any(known in c for known in EXPECTED_COMPLAINTS)]
    assert strange == []


def test_the_study_is_one_row_that_opens_to_its_trials(tab: Tab, shown: Shown) -> None:
    visit(tab, shown, f"experiments/{shown.experiment}/runs", "4 matching runs")
    assert not tab.evaluate(SAYS % "'ribs-0000'")
    tab.wait_for(EXPANDER + " !== undefined")
    tab.evaluate(f"{EXPANDER}.click()")
    for trial in ("ribs-0000", "ribs-0001", "ribs-0002"):
        tab.wait_for(SAYS % json.dumps(trial))
    keep(tab, "experiment")
    check_quiet(tab, shown)


def test_the_run_of_a_study_names_its_trials_and_its_data(tab: Tab, shown: Shown) -> None:
    visit(tab, shown, f"experiments/{shown.experiment}/runs/{shown.runs['ribs']}", "ribs-0002")
    text = tab.wait_for("document.body.innerText.includes('small') && document.body.innerText")
    for part in ("Child runs", "ribs-0000", "ribs-0001", "Finished", "dexsearch.study"):
        assert part in text
    keep(tab, "study")
    check_quiet(tab, shown)


def test_the_page_of_a_model_shows_its_champion_with_pictures(tab: Tab, shown: Shown) -> None:
    visit(tab, shown, f"models/{MODEL}", "identity affine")
    tab.wait_for(SAYS % "'champion'")
    tab.wait_for(f"{DRAWN}.length >= 2 && {DRAWN}.every(i => i.complete)")
    assert all(width > 100 for width in tab.evaluate(f"{DRAWN}.map(i => i.naturalWidth)"))
    keep(tab, "model")
    check_quiet(tab, shown)


def test_the_page_of_a_version_shows_alias_scores_pictures_and_what_it_takes(
    tab: Tab, shown: Shown
) -> None:
    visit(tab, shown, f"models/{MODEL}/versions/1", "identity affine")
    tab.wait_for(r"/@\s*champion/.test(document.body.innerText)")
    tab.wait_for(f"{DRAWN}.length >= 2 && {DRAWN}.every(i => i.complete)")
    assert all(width > 100 for width in tab.evaluate(f"{DRAWN}.map(i => i.naturalWidth)"))
    text = tab.evaluate("document.body.innerText")
    assert "not for diagnosis" in text
    assert "Inputs (1)" in text, "MLflow reads the signature of the pt2 model"
    keep(tab, "version")
    check_quiet(tab, shown)


def test_two_trials_stand_side_by_side(tab: Tab, shown: Shown) -> None:
    runs = json.dumps([shown.runs["ribs-0000"], shown.runs["ribs-0001"]])
    where = f"runs={quote(runs)}&experiments={quote(json.dumps([shown.experiment]))}"
    visit(tab, shown, f"compare-runs?{where}", "Comparing 2 Runs")
    text = tab.wait_for("document.body.innerText.includes('Metrics') && document.body.innerText")
    for part in ("ribs-0000", "ribs-0001", "generator.depth", "val_ssim"):
        assert part in text
    tab.wait_for("document.querySelector('.js-plotly-plot .main-svg') !== null")
    keep(tab, "compare")
    check_quiet(tab, shown)


def test_mlflow_models_serve_answers_what_the_predictor_answers(shown: Shown) -> None:
    port = free_port("127.0.0.1", 0)
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--port", str(port)]
    command += ["--model-uri", f"models:/{MODEL}@champion", "--env-manager", "local"]
    environment = {**os.environ, **SAFE_ENVIRONMENT, "MLFLOW_TRACKING_URI": shown.url}
    # MLflow starts uvicorn by name, so its folder has to be on the path, as in an activated venv.
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    images = np.random.default_rng(0).normal(3, 1, (2, 1, 24, 40)).astype(np.float32)
    with subprocess.Popen(command, env=environment, start_new_session=True) as process:
        try:
            wait_until_it_answers(process, url_of("127.0.0.1", port))
            answer = ask(url_of("127.0.0.1", port), images)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
    predictor = load_predictor(open_registered(shown.workspace, f"{MODEL}@champion"))
    expected = [list(predictor.predict(image[0]).values()) for image in images]
    np.testing.assert_allclose(answer, np.array(expected), atol=1e-4)


def ask(url: str, images: np.ndarray) -> np.ndarray:
    """Send images to a scoring server."""
    body = json.dumps({"inputs": images.tolist()}).encode()
    request = Request(f"{url}/invocations", body, {"Content-Type": "application/json"})
    with build_opener(ProxyHandler({})).open(request, timeout=60) as reply:
        return np.array(json.load(reply)["predictions"])
