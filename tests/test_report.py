"""The report of a small trained flow, read in a browser."""

import re
import shutil

import pytest

from rgflow.cli import main

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "first"
    settings = ["--train_count", "200", "--validate_count", "20", "--batch_size", "8"]
    settings += ["--compile", "false", "--steps", "4", "--out", str(folder)]
    assert (
        main(["train", "msds2-fast", "--model.hidden", "16", "--model.depth", "1", *settings]) == 0
    )
    assert main(["report", str(folder), "--count", "100", "--draws", "1"]) == 0
    return folder / "report.html"


def test_it_holds_everything_and_links_to_nothing(report):
    text = report.read_text()
    for title in ("Summary", "Samples", "From coarse to fine", "What each latent sees"):
        assert f"<h2>{title}</h2>" in text
    for title in ("Latents at work", "Mixing", "Cones", "Meaning"):
        assert f"<h2>{title}</h2>" in text
    assert text.count("data:image/png") >= 12
    assert text.count("data:image/gif") == 2
    targets = re.findall(r'(?:src|href)="([^"]{1,20})', text)
    assert all(target.startswith(("data:", "#")) for target in targets)
    assert "bits/dim on 100 test images of msds2" in text


@pytest.mark.skipif(not BROWSER, reason="needs Chromium")
@pytest.mark.parametrize("width", [1280, 390])
def test_in_a_browser(report, width):
    playwright = pytest.importorskip("playwright.sync_api")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    flags += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    with playwright.sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=BROWSER, args=flags)
        page = browser.new_page(viewport={"width": width, "height": 800})
        messages, requests = [], []
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(report.as_uri())
        page.wait_for_load_state("load")
        sizes = page.eval_on_selector_all(
            "img", "all => all.map(i => [i.complete, i.naturalWidth, i.naturalHeight])"
        )
        assert len(sizes) >= 14
        assert all(done and columns > 50 and rows > 50 for done, columns, rows in sizes)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.eval_on_selector_all("img", "all => all.every(i => i.alt.length > 5)")
        browser.close()
    assert messages == []
    assert [url for url in requests if not url.startswith("data:")] == [report.as_uri()]


def test_mistakes(tmp_path, capsys):
    for arguments, message in (
        ([str(tmp_path)], "has no config.yaml"),
        ([str(tmp_path), "--count", "3"], "--count to be at least 100"),
        ([str(tmp_path), "--draws", "0"], "--draws to be at least 1"),
    ):
        assert main(["report", *arguments]) == 2
        assert message in capsys.readouterr().err
