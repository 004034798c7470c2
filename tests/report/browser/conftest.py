"""One browser for all that look at a page, and the page of one package."""

from __future__ import annotations

import json
import shutil

import pytest

from mpccompile import compiler
from mpccompile.codegen import package as packages
from mpccompile.options import Options
from mpccompile.report.page import page as html_of
from mpccompile.report.picture import picture
from mpccompile.report.profile import Profile
from mpccompile.runtime.session import CallReport
from tests import models

NAMES = ("chromium", "chromium-browser", "google-chrome")
# Nothing of the browser's own goes to the network, so that every request seen is one of the page.
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def browser():
    """Start Debian's Chromium, without a window."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("there is no Chromium: install Debian's package chromium")
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with driver.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield started
        started.close()


@pytest.fixture(scope="module")
def package(browser, tmp_path_factory):
    """Compile BERT; a machine without a browser is spared that."""
    model, inputs = models.bert(padding_mask=True)
    return compiler.build(model, inputs, tmp_path_factory.mktemp("browser") / "bert", options=Options())


@pytest.fixture(scope="module")
def shown(package):
    """Return what the page shows, with half a second measured for each statement."""
    lines = tuple((statement.line, 0.5) for statement in package.statements)
    rows = tuple((row.line, *row.bytes_sent, row.rounds) for row in package.traffic)
    report = CallReport(traffic=rows, online_seconds=100.0, offline_seconds=0.0, line_seconds=lines)
    profile = json.loads(json.dumps(Profile.of(package, report).to_json()))
    source = (package.folder / "model.py").read_text(encoding="utf-8")
    return json.loads(json.dumps(picture(package, source, packages.read_graphs(package.folder), profile)))


@pytest.fixture(scope="module")
def address(shown, tmp_path_factory):
    """Write the page and return its address."""
    path = tmp_path_factory.mktemp("page") / "show.html"
    path.write_text(html_of(shown), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def visit(browser, address):
    """Open a page with the screen asked for; what goes wrong in it, or asks for anything else, fails the test."""
    wrong, asked, contexts, pages = [], [], [], set()

    def opened(address=address, **screen):
        context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **screen})
        contexts.append(context)
        context.on("request", lambda request: asked.append(request.url))
        tab = context.new_page()
        tab.set_default_timeout(5000)
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.on("console", lambda message: wrong.append(message.text))
        # A busy machine may take its time to start a page.
        tab.goto(address, timeout=30000)
        pages.add(address)
        return tab

    yield opened
    for context in contexts:
        context.close()
    assert wrong == []
    assert set(asked) == pages


@pytest.fixture
def tab(visit):
    """Open the page as on a desk."""
    return visit()
