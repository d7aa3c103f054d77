"""The reports of small flows, read in a browser."""

import html
import json
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from flows import OPTIONS, by_day, random_flow, random_images
from rgflow.cli import main
from rgflow.data import Images
from rgflow.report import page
from rgflow.report.sections import cones, summary
from rgflow.report.subject import ReportedFlow
from rgflow.training import loop
from rgflow.training.run import Run
from runs import small_run

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
QUICK = ["--count", "100", "--draws", "1", "--places", "1"]


@pytest.fixture(scope="module")
def few_samples():
    """A training draws fewer samples than usual."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "SAMPLES", 4)
        yield


@pytest.fixture(scope="module")
def reports(tmp_path_factory, few_samples):
    """Of a trained flow on MSDS2; and without labels, of a model beside a Real NVP."""
    folder = tmp_path_factory.mktemp("runs")
    settings = ["--train_count", "200", "--validate_count", "20", "--batch_size", "8"]
    settings += ["--model.map.hidden", "4", "--model.map.depth", "1", "--compile", "false"]
    settings += ["--steps", "4", "--out", str(folder / "first")]
    assert main(["train", "msds2-fast", *settings]) == 0
    model = small_run(folder / "plain", depth=1, hidden=4) / "model"
    other = small_run(folder / "other", geometry="squeeze", levels=2, hidden=4)
    windows = OPTIONS["window-photos"] | {"channels": 3}
    window = small_run(folder / "windows", **windows) / "model"
    averages = windows | {"geometry": windows["geometry"] | {"kind": "block-spins"}}
    average = small_run(folder / "averages", **averages) / "model"
    arguments = {
        "windows": [str(window), "--data", f"npz:{folder / 'windows.npz'}"],
        "averages": [str(average), "--data", f"npz:{folder / 'averages.npz'}"],
        "msds2": [str(folder / "first")],
        "model": [
            str(model), "--data", f"npz:{folder / 'plain.npz'}", "--threshold", "0.01",
            "--beside", str(other / "model"),
        ],
    }  # fmt: skip

    class Reports(dict):
        """Each is made when a test asks for it."""

        def __missing__(self, name):
            self[name] = folder / "reports" / f"{name}.html"
            assert main(["report", *arguments[name], *QUICK, "--out", str(self[name])]) == 0
            return self[name]

    return Reports()


def sections(path):
    """What the page says in each section, by its title, with a bar between the cells of a row."""
    found = {}
    for part in path.read_text().split("<h2>")[1:]:
        title, content = part.split("</h2>", 1)
        text = re.sub(r"</t[dh]><t[dh][^>]*>", "|", content)
        found[title] = html.unescape(re.sub(r"<[^>]*>", "", text))
    return found


@pytest.mark.filterwarnings("ignore::rgflow.LosslessWarning")  # noise, and random weights
@pytest.mark.parametrize("name", by_day(["model", "msds2", "windows", "averages"], ["msds2"]))
def test_it_holds_everything_and_links_to_nothing(reports, name):
    text = reports[name].read_text()
    assert list(sections(reports[name])) == [
        "Summary", "Samples", "From coarse to fine", "What each latent sees", "Latents at work",
        "Mixing", "Cones", "Meaning",
    ]  # fmt: skip
    assert text.count("data:image/png") >= 12
    targets = re.findall(r'(?:src|href)="([^"]{1,20})', text)
    assert all(target.startswith(("data:", "#")) for target in targets)


def test_what_was_trained(reports):
    said = sections(reports["msds2"])["Summary"]
    assert "bits/dim on 100 test images of msds2" in said
    assert "4 steps of " in said
    assert "Learning curve" in said


def test_latents_are_named_by_what_they_do(reports):
    label = r"(base )?(red|green|blue|angle|x|y)( of oval \d,\d)?"
    work = sections(reports["msds2"])["Latents at work"]
    assert re.search(rf"\d, \(\d+, \d+\), \d\|{label} \(\d\.\d\d nats, r −?\d\.\d\d\)\|", work)
    assert "pairs are dependent (false-discovery rate 0.05)" in work


def test_every_score_stands_beside_its_settings(reports):
    said = sections(reports["msds2"])
    for words in (
        "linear probes", "penalties 10, 100, 1000, 10000, 100000; 100 images",
        "a fifth held out, 1 place",
        "40 boosted trees", "factor|level 0|level 1", "base angle|", "shuffled labels|",
        "score|value|shuffled labels", "DCI completeness|", "trees of depth 8, seed 0",
        "level|steps|correlation|of |z||nats|pixels", "at most 200 pairs",
        "jitter", "Directions in which labels rise",
    ):  # fmt: skip
        assert words in said["Meaning"], words
    assert re.search(r"base angle\|\d, \(\d+, \d+\), \d \(", said["Meaning"])
    sees = said["What each latent sees"]
    assert "in the flow's own space, 1 draw, temperature 1, seed 0; visible above 1." in sees
    assert re.search(r"0\|\d+ of \d+\|", sees)


@pytest.mark.slow
def test_a_model_without_labels_beside_another_with_a_threshold(reports):
    found = sections(reports["model"])
    assert "steps of" not in found["Summary"]  # the folder of a model
    assert "nats" not in found["Latents at work"]
    assert "latent: h, (i, j), c|strength" in found["Latents at work"]
    assert "The data set has no labels" in found["Meaning"]
    assert "Held-out R²" not in found["Meaning"]
    assert "Dependence of two latents" in found["Meaning"]
    sees = found["What each latent sees"]
    assert "Strengths of receptive fields: this flow" in sees
    assert "Strengths of receptive fields: other/model" in sees
    assert "its field has a mean above 0.01" in sees
    assert "visible above 0.01." in sees
    counts = [int(n) for n in re.findall(r"\n\d\|(\d+) of \d+\|", sees)]
    assert len(counts) == 2 + 2  # levels of this flow, and of the one beside
    assert sum(counts[:2]) > 0


@pytest.mark.skipif(not BROWSER, reason="needs Chromium, which isn't installed")
@pytest.mark.parametrize("width", by_day([1280, 390], [390]))
def test_in_a_browser(reports, width):
    look(reports.values(), width)


@pytest.mark.slow
@pytest.mark.skipif(not BROWSER, reason="needs Chromium, which isn't installed")
@pytest.mark.parametrize("data", ["msds1", "msds2"])
def test_of_a_trained_flow_in_a_browser(data, tmp_path):
    run = tmp_path / "run"
    settings = ["--minutes", "0.5", "--train_count", "2000", "--validate_count", "50"]
    assert main(["train", f"{data}-small", *settings, "--out", str(run)]) == 0
    assert main(["report", str(run), *QUICK]) == 0
    assert f"test images of {data}" in sections(run / "report.html")["Summary"]
    for width in (1280, 390):
        look([run / "report.html"], width)


def look(paths, width):
    """Open pages in Chromium: no message, no request, every picture there, none cut off."""
    playwright = pytest.importorskip("playwright.sync_api")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    flags += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    with playwright.sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=BROWSER, args=flags)
        for report in paths:
            page = browser.new_page(viewport={"width": width, "height": 800})
            messages, requests = [], []
            page.on("console", lambda message, to=messages: to.append(message.text))
            page.on("pageerror", lambda error, to=messages: to.append(str(error)))
            page.on("request", lambda request, to=requests: to.append(request.url))
            page.goto(report.as_uri())
            page.wait_for_load_state("load")
            pictures = page.eval_on_selector_all(
                "img", "all => all.map(i => [i.complete, i.naturalWidth, i.naturalHeight])"
            )
            assert len(pictures) >= 13  # of averages; one more of others
            assert all(done and columns > 50 and rows > 50 for done, columns, rows in pictures)
            # Text in pictures stays readable, and the page doesn't scroll sideways.
            narrow = "all => all.filter(i => i.width < Math.min(i.naturalWidth, 640))"
            narrow = page.eval_on_selector_all("img", f"{narrow}.map(i => i.alt)")
            assert set(narrow) <= {"Samples at temperature 1"}  # which has no text
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.eval_on_selector_all("img", "all => all.every(i => i.alt.length > 5)")
            assert messages == []
            assert [url for url in requests if not url.startswith("data:")] == [report.as_uri()]
            page.close()
        browser.close()


def test_mistakes(tmp_path, capsys):
    run = small_run(tmp_path / "run")
    fields = small_run(tmp_path / "fields", pixels=None)
    for arguments, message in (
        ([str(tmp_path)], "has no config.yaml"),
        ([str(run), "--count", "3"], "--count to be at least 100"),
        ([str(run), "--draws", "0"], "--draws to be at least 1"),
        ([str(run), "--threshold", "-1"], "--threshold to be at least 0"),
        (
            [str(run), "--out", "/dev/null/x.html"],
            "Expected to write /dev/null/x.html; /dev/null isn't a folder",
        ),
        ([str(run), "--out", str(tmp_path)], f"Expected to write {tmp_path}; it is a folder."),
        ([str(run), "--beside", str(tmp_path)], "has no config.yaml"),
        (
            [str(run / "model")],
            "as the folder of a model without a card names none: give one with --data",
        ),
        ([str(fields)], "Expected a flow of images, or one that has learned an action"),
    ):
        assert main(["report", *arguments]) == 2
        said = capsys.readouterr().err
        assert message in said
        assert said.count("\n") == 1


def test_text_is_text(tmp_path):
    text, shown = "<script>$[/s]\x1b[31m\udcff", r"<script>$[/s]\x1b[31m\udcff"
    table = page.Table(title=text, head=[text], rows=[[text]], settings=text)
    picture = page.still(Image.new("RGB", (8, 8)), text)
    section = page.Section(title=text, text=[text], points=[(text, text)], parts=[table, picture])
    page.write(tmp_path / "page.html", text, [section], text)
    said = (tmp_path / "page.html").read_text()
    assert said.count(html.escape(shown)) == 14
    assert "<script" not in said


@pytest.mark.parametrize("result", ["7", None, [7], {"steps": "7"}, {}])
def test_a_damaged_run_has_a_report(result, tmp_path):
    folder = small_run(tmp_path / "run")
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(record | {"result": result, "machine": None}))
    (folder / "pictures").mkdir(exist_ok=True)
    (folder / "pictures" / "curve.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    flow = Run(folder).flow()
    test = Images(name="noise", images=random_images(flow, 5).to(torch.uint8).numpy())
    section = summary(ReportedFlow(flow=flow, test=test, run=Run(folder)))
    assert dict(section.points)["data"].startswith("npz:")
    assert "machine" not in dict(section.points)
    assert len(section.parts) == 1


@pytest.mark.parametrize("size", [(32, 8), (8, 32)])
def test_cones_of_tall_and_wide_images(size):
    flow = random_flow(height=size[0], width=size[1])
    images = Images(name="black", images=np.zeros((1, 3, *size), np.uint8))
    assert len(cones(ReportedFlow(flow=flow, test=images)).parts) == 2
