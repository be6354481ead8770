import shutil

import pytest
from browsing import CHROMIUM, FLAGS, Visitor
from playwright.sync_api import sync_playwright
from running import serving
from visitors import load, ticket, whole

from vitcam.app.answers import Question, answer
from vitcam.app.model_cache import ModelCache
from vitcam.app.photo_files import photo_file
from vitcam.app.policy import policy_for
from vitcam.app.ranking import Case
from vitcam.photos import photo_path


@pytest.fixture
def cache():
    return ModelCache(load, room=2)


@pytest.fixture
def policy():
    return policy_for("127.0.0.1", [])


@pytest.fixture
def ask(cache, policy):
    """Asks about a shipped photograph."""

    def ask(*ticked, photo="cat_and_cup", spec="embedded:photo", methods=("agcam", "rollout"), texts=()):
        case = Case(photo_file((str(photo_path(photo)), "")), spec, tuple(texts))
        return whole(answer(Question(case, tuple(methods), ticked), cache, policy, ticket()))

    return ask


@pytest.fixture
def mine(tmp_path):
    """A photograph of the visitor's own: no shipped one has these bytes."""
    path = tmp_path / "my cat.jpg"
    shutil.copy(photo_path("cat"), path)
    with path.open("ab") as file:
        file.write(b"\0")
    return path


@pytest.fixture(scope="session")
def log(tmp_path_factory):
    """What the app writes."""
    return tmp_path_factory.mktemp("app") / "log"


@pytest.fixture(scope="session")
def address(log):
    """Where an app answers that offers a CLIP besides the embedded model and takes 1 MB."""
    with serving(
        log, "--model", "embedded:photo", "--model", "open_clip:fake/clip", "--max-upload-mb", "1"
    ) as url:
        yield url
    assert "OUTSIDE" not in log.read_text(), "the app connected to another host"


@pytest.fixture(
    scope="module"
)  # while it runs, so does an event loop that tests of other modules don't expect
def browser():
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser, address, log):
    """New visitors; whatever they do, nothing leaves the app's own address and nothing fails."""
    visitors, before = [], len(log.read_text())

    def visit(**options):
        visitors.append(Visitor(browser, address, **options))
        return visitors[-1]

    yield visit
    for visitor in visitors:
        visitor.context.close()
    assert [complaint for visitor in visitors for complaint in visitor.complaints] == []
    assert "Traceback" not in log.read_text()[before:]
