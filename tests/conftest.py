"""The explorer and a browser, for all tests of a file."""

import pytest

from visitors import FAST_SETTINGS, Visitor, album, chromium, named, serving, settings


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Of a server that runs in a folder of its own."""
    with serving(tmp_path_factory.mktemp("server"), before=FAST_SETTINGS) as found:
        yield found


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """The folder for screenshots, which take a while: only if one is named."""
    return album(tmp_path_factory.mktemp("album")) if named() else None


@pytest.fixture(scope="module")
def context(browser):
    """Where people come one after the other: the explorer keeps nothing there, but its scripts are
    compiled only once."""
    found = settings(browser)
    yield found
    found.close()


@pytest.fixture
def me(browser, address, pictures, context, request, tmp_path_factory):
    """A person, who in the end has met no error and asked nobody else."""
    visitor = Visitor(browser, address, pictures, context=context)
    failed = request.session.testsfailed
    yield visitor
    try:
        if request.session.testsfailed > failed:
            visitor.pictures = pictures or album(tmp_path_factory.mktemp("failed"))
            visitor.shoot(f"failed-{request.node.name}")
        visitor.content()
    finally:
        visitor.close()


@pytest.fixture
def axes(monkeypatch):
    """The axes of the charts that are rendered."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    found = []
    pixels = FigureCanvasAgg.buffer_rgba

    def keep(canvas):
        found.extend(canvas.figure.axes)
        return pixels(canvas)

    monkeypatch.setattr(FigureCanvasAgg, "buffer_rgba", keep)
    return found
