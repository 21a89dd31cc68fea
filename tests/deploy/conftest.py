import pytest

from tests.deploy import tools
from tests.deploy.manifests import OVERLAYS, Manifests, render


@pytest.fixture(scope="session")
def go_tools() -> None:
    tools.require(tools.install_go_tools)


@pytest.fixture(scope="session")
def types() -> None:
    tools.require(tools.install_types)


@pytest.fixture(scope="session", params=OVERLAYS, ids=lambda overlay: overlay.name)
def manifests(request: pytest.FixtureRequest, go_tools: None) -> Manifests:
    """What each overlay renders to, in turn."""
    return render(request.param)


@pytest.fixture(scope="session")
def production(go_tools: None) -> Manifests:
    """The overlay that uses every component."""
    return render(next(overlay for overlay in OVERLAYS if overlay.name == "production"))
