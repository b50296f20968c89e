from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from finetune_tui.cli import cli
from tests.core.worker.model_hub import serving_the_demo


def ft(*words: str) -> Result:
    return CliRunner().invoke(cli, ["data", *words])


def rows_file(path: Path, *values: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return str(path)


def turns(*texts: tuple[str, str]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": text} for role, text in texts]}


GOOD = turns(("user", "a"), ("assistant", "b"))
DOUBLE = turns(("user", "a"), ("user", "b"), ("assistant", "c"))
EMPTY = turns(("user", "a"), ("assistant", ""))


def test_a_good_file_is_usable_and_its_tokens_are_counted_for_a_model() -> None:
    result = ft("check", "demo", "--model", "demo", "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert (found["shape"], found["rows"], found["usable"], found["trainable_as"]) == ("messages", 400, 400, "sft")
    assert found["refused"] is None
    assert {problem["severity"] for problem in found["problems"]} <= {"note"}
    tokens = found["tokens"]
    assert 0 < tokens["min"] <= tokens["p50"] <= tokens["p95"] <= tokens["max"] < tokens["total"]
    assert tokens["truncated"] == 0


def test_bad_rows_are_told_with_kind_row_field_and_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows_file(path, GOOD, DOUBLE, EMPTY)
    with path.open("a") as stream:
        stream.write("{broken\n")
    result = ft("check", str(path), "--json")
    assert result.exit_code == 1
    problems = {found["kind"]: found for found in json.loads(result.stdout)["problems"]}
    assert problems["role-order"]["examples"][0]["row"] == 2
    assert problems["missing-answer"]["examples"][0]["field"] == "messages[1].content"
    assert problems["unreadable-row"]["count"] == 1
    assert problems.pop("few-rows")["severity"] == "note"
    assert all(found["severity"] == "error" and found["fix"] for found in problems.values())
    words = ft("check", str(path))
    assert "1 row can be used, 3 cannot" in words.stdout


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({"input_ids": [1, 2], "labels": [1, 2]}, "tokenised"),
        ({"messages": GOOD["messages"], "image": "a.png"}, "multimodal"),
        ({"frage": "a", "antwort": "b"}, "unknown-shape"),
    ],
)
def test_what_cannot_be_trained_is_refused_by_name(value: dict[str, Any], kind: str, tmp_path: Path) -> None:
    result = ft("check", rows_file(tmp_path / "rows.jsonl", value, value), "--json")
    assert result.exit_code == 2
    refused = json.loads(result.stdout)["refused"]
    assert refused["kind"] == kind
    assert refused["why"]
    assert refused["fix"]


@pytest.mark.parametrize("name", ["none.jsonl", "~nobody-of-this-name/rows.jsonl"])
def test_a_file_that_is_missing_is_refused(name: str, tmp_path: Path) -> None:
    result = ft("check", name if name.startswith("~") else str(tmp_path / name), "--json")
    assert result.exit_code == 2
    assert "no such file" in json.loads(result.stdout)["refused"]["why"]


def test_preference_pairs_are_data_though_this_version_does_not_train_on_them(tmp_path: Path) -> None:
    file = rows_file(tmp_path / "rows.jsonl", {"prompt": "p", "chosen": "a", "rejected": "b"})
    result = ft("check", file, "--json")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["trainable_as"], found["refused"]) == (0, "dpo", None)
    assert "completion: chosen" in found["not_offered"]["fix"]


def test_columns_are_named_by_hand(tmp_path: Path) -> None:
    file = rows_file(tmp_path / "rows.jsonl", {"frage": "a", "antwort": "b"})
    result = ft("check", file, "--map", "instruction=frage", "--map", "output=antwort", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["mapping"] == {"instruction": "frage", "output": "antwort"}
    assert ft("check", file, "--map", "instruction").exit_code == 2
    assert ft("check", file, "--shape", "nonsense").exit_code == 2


def test_rows_are_counted_and_shown_for_a_model_of_the_hub_before_its_weights_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serving_the_demo(monkeypatch) as hub:
        checked = json.loads(ft("check", "demo", "--model", "some/tiny", "--json").stdout)["tokens"]
        shown = ft("show", "demo", "--model", "some/tiny", "--json")
    here = json.loads(ft("check", "demo", "--model", "demo", "--json").stdout)["tokens"]
    assert checked == here | {"model": "some/tiny"}
    assert shown.exit_code == 0, shown.stderr
    assert not any(path.endswith(".safetensors") for path in hub.got)


def test_a_row_is_shown_as_data_as_text_and_as_tokens() -> None:
    assert '"role": "user"' in ft("show", "demo", "--row", "2").stdout
    assert "▌{" in ft("show", "demo", "--as", "model").stdout
    (found,) = json.loads(ft("show", "demo", "--as", "tokens", "--json").stdout)
    assert sum(piece["trained"] * len(piece["ids"]) for piece in found["pieces"]) == found["trained"] > 0
    assert "no such row" in ft("show", "demo", "--row", "401").stderr


def test_a_cleaned_copy_is_mended_where_that_is_wanted_and_tells_what_is_left_out(tmp_path: Path) -> None:
    file, out = rows_file(tmp_path / "rows.jsonl", GOOD, DOUBLE, EMPTY), tmp_path / "clean.jsonl"
    result = ft("clean", file, str(out), "--fix", "role-order=merge", "--json")
    assert json.loads(result.stdout)["left_out"] == [[3, "missing-answer"]]
    assert [json.loads(line)["messages"][0]["content"] for line in out.read_text().splitlines()] == ["a", "a\n\nb"]
    assert ft("clean", file, str(out)).exit_code == 2
    assert ft("clean", file, str(out), "--force").exit_code == 0


def test_rows_are_parted_and_mixed_into_files_of_their_own(tmp_path: Path) -> None:
    train, held_out, mixed = (tmp_path / f"{name}.jsonl" for name in ("train", "held_out", "mixed"))
    files = json.loads(ft("split", "demo", str(train), str(held_out), "--share", "0.1", "--json").stdout)["files"]
    assert files == {str(train): 360, str(held_out): 40}
    assert not set(train.read_text().splitlines()) & set(held_out.read_text().splitlines())
    found = json.loads(ft("mix", str(train), str(mixed), "--with", f"{held_out}=0.1", "--json").stdout)
    assert found["rows"] == len(mixed.read_text().splitlines()) == 400
    assert ft("mix", "demo", str(mixed), "--with", "x").exit_code == 2


def test_findings_of_good_rows_are_told_without_making_them_unusable(tmp_path: Path) -> None:
    refusing = turns(("user", "Who are you?"), ("assistant", "As an AI language model, I cannot say."))
    file = rows_file(tmp_path / "rows.jsonl", GOOD, GOOD, refusing)
    result = ft("check", file, "--json")
    problems = {found["kind"]: found for found in json.loads(result.stdout)["problems"]}
    assert result.exit_code == 0
    assert problems["exact-duplicate"]["examples"][0]["row"] == 2
    assert problems["refusal"]["examples"][0]["field"] == "messages[1]"
    assert "drop" in problems["refusal"]["fix"]
    assert "fix: data.fixes: {refusal: drop | keep}" in ft("check", file).stdout
    out = tmp_path / "clean.jsonl"
    cleaned = ft("clean", file, str(out), "--fix", "refusal=drop", "--fix", "exact-duplicate=drop", "--json")
    assert json.loads(cleaned.stdout)["left_out"] == [[2, "exact-duplicate"], [3, "refusal"]]
    assert ft("clean", file, str(out), "--fix", "refusals=drop", "--force").exit_code == 2


def test_held_out_rows_that_are_learnt_too_are_told(tmp_path: Path) -> None:
    other = turns(("user", "x"), ("assistant", "y"))
    file, held_out = rows_file(tmp_path / "rows.jsonl", GOOD), rows_file(tmp_path / "held_out.jsonl", other, GOOD)
    problems = json.loads(ft("check", file, "--held-out", held_out, "--json").stdout)["problems"]
    assert (problems[0]["kind"], problems[0]["examples"][0]["row"]) == ("leakage-exact", 2)


def test_rows_are_filtered_by_text_and_length_on_their_way_into_another_file(tmp_path: Path) -> None:
    rows = [turns(("user", f"about {name}"), ("assistant", name * 9)) for name in ("cats", "dogs", "cats and dogs")]
    file, out = rows_file(tmp_path / "rows.jsonl", *rows), tmp_path / "out.jsonl"
    found = json.loads(ft("clean", file, str(out), "--only", "CATS", "--max-characters", "100", "--json").stdout)
    assert (found["rows"], found["left_out"]) == (1, [[2, "filter-only"], [3, "filter-long"]])
    train, held_out = tmp_path / "train.jsonl", tmp_path / "held_out.jsonl"
    parted = ft("split", file, str(train), str(held_out), "--share", "0.5", "--without", "and", "--json")
    assert json.loads(parted.stdout)["left_out"] == [[3, "filter-without"]]
    both = ("--min-characters", "9", "--max-characters", "3")
    assert "no row can be that short and that long" in ft("clean", file, str(out), "--force", *both).stderr


PLACES = (
    "In the cold north where the snow lies deep until May and the birch woods are empty of birds",
    "By the sea, below the white cliffs with their thousand nests and the noise of the gulls",
    "Far inland among fields of rye and barley that nobody has walked through this whole year",
    "Under a bridge of the old railway line, with graffiti on its pillars and rust on every bolt",
    "At the pond behind our school which smells of algae all summer and freezes in December",
)


def test_rows_that_are_nearly_the_same_are_parted_to_one_side(tmp_path: Path) -> None:
    long = "the heron stands and waits for a fish"
    rows = [
        turns(("user", f"{number} {place} {long * 2} {place} {number}{end}"), ("assistant", "It waits."))
        for number, place in enumerate(PLACES)
        for end in ("?", " then?")
    ]
    train, held_out = tmp_path / "train.jsonl", tmp_path / "held_out.jsonl"
    ft("split", rows_file(tmp_path / "rows.jsonl", *rows), str(train), str(held_out), "--share", "0.2")
    texts = [path.read_text().splitlines() for path in (train, held_out)]
    sides = [{json.loads(line)["messages"][0]["content"].split()[0] for line in lines} for lines in texts]
    assert list(map(len, texts)) == [8, 2]
    assert not sides[0] & sides[1]


def test_what_is_to_be_decided_is_asked_and_exits_as_refused(tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    words = ("accepted", "rejected") * 2
    values = [{"prompt": f"p{place}", "completion": "c", "status": word} for place, word in enumerate(words)]
    source.write_text("".join(json.dumps(value) + "\n" for value in values))
    asked = ft("check", str(source))
    assert asked.exit_code == 2
    assert "to decide: does rejected in `status` mark a bad answer?" in asked.output
    assert "yes: rows with rejected are left out (proposed): --shape prompt-completion" in asked.output
    assert "4 rows can be used, 0 cannot, once it is decided how they are read" in asked.output
    ways = ("--map", "prompt=prompt", "--map", "completion=completion", "--map", "label=status")
    decided = ft("check", str(source), "--shape", "prompt-completion", *ways)
    assert "2 rows can be used, 2 cannot" in decided.output
