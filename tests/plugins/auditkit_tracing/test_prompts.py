from __future__ import annotations

import json
from pathlib import Path

import pytest
from auditkit_tracing.prompts import Prompt, read_prompts
from auditkit_tracing.settings import TracingSettings

from auditkit.errors import SettingError, UnreadableError


def test_nothing_is_asked_by_default() -> None:
    assert read_prompts(TracingSettings()) == []


def test_a_prompt_from_the_command_line() -> None:
    settings = TracingSettings(prompt="the sea is", completion="blue")
    assert read_prompts(settings) == [Prompt("prompt", "the sea is", "blue", "prompt")]


def test_lines_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "queries.jsonl"
    path.write_text(
        '{"prompt": "a", "completion": null, "other": [1]}\n\n'
        '{"prompt": "b", "completion": "c", "id": "x", "group": "g"}\n'
    )
    assert read_prompts(TracingSettings(queries=path)) == [
        Prompt("line-1", "a", None, "line-1"),
        Prompt("x", "b", "c", "g"),
    ]


def test_a_key_that_was_meant_to_be_another_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "queries.jsonl"
    path.write_text('{"prompt": "a", "Completions": "b"}\n')
    with pytest.raises(UnreadableError, match="'Completions': did you mean 'completion'"):
        read_prompts(TracingSettings(queries=path))


def test_a_file_and_a_prompt_are_too_much(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="put all into the file"):
        read_prompts(TracingSettings(queries=tmp_path / "q.jsonl", prompt="a"))


@pytest.mark.parametrize("key", ["prompt", "completion", "id", "group"])
def test_half_of_a_pair_is_no_text(tmp_path: Path, key: str) -> None:
    path = tmp_path / "queries.jsonl"
    given = {"prompt": "a", "completion": "b", "id": "x", "group": "g", key: "a\ud800"}
    path.write_text(json.dumps(given) + "\n")
    with pytest.raises(SettingError, match=f"The {key} in line 1 is no valid text: its sign 2"):
        read_prompts(TracingSettings(queries=path))
    with pytest.raises(SettingError, match="The completion is no valid text"):
        read_prompts(TracingSettings(prompt="a", completion="\udcff"))
