"""The catalogue in the package, and other people's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgecap.bundle.catalogue import built_in, check_commercial, parse_catalogue
from edgecap.bundle.manifest import Licence
from edgecap.bundle.models import find_model
from edgecap.errors import BundleError, ConfigError
from edgecap.pull.places import hub_file, hub_repository
from edgecap.pull.template import known_words


def document(**entry: Any) -> dict[str, Any]:
    given = {
        "name": "kitchen",
        "kind": "bundle",
        "files": [{"role": "manifest", "places": ["https://models.example/manifest.json"]}],
        "licence": {"name": "MIT"},
    }
    return {"format": "edgecap-catalogue", "format_version": 1, "models": [{**given, **entry}]}


def parse(given: object) -> None:
    parse_catalogue(json.dumps(given).encode(), "theirs")


def test_the_authors_students_are_in_the_catalogue() -> None:
    for style, words in (("AudioCaps", 4981), ("Clotho", 4368)):
        entry = built_in().find(f"wsntxxn/effb2-trm-{style.lower()}-captioning")
        assert (entry.style, entry.licence.name) == (style, "Apache-2.0")
        assert words in known_words(entry.architecture)
        for file in entry.files:
            assert file.sha256 is None  # nobody has stated one; an invented one would be worse than none
            assert [hub_file(place) for place in file.places]
            assert file.most <= 100_000_000


def test_a_model_that_could_be_pulled_is_not_pulled_unasked() -> None:
    with pytest.raises(BundleError, match="'effb2-trm-clotho' is not installed; type: edgecap pull effb2-trm-clotho"):
        find_model("effb2-trm-clotho")


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ([], "is not a catalogue"),
        ({"format": "edgecap-bundle"}, "is not a catalogue"),
        ({**document(), "format_version": 2}, "has format version 2 and this edgecap reads 1"),
        ({**document(), "more": 1}, r"unknown key: \$\.more"),
        (document(colour="red"), r"unknown key: \$\.models\[0\]\.colour"),
        (document(name="../kitchen"), r"theirs is wrong: models\[0\]\.name"),
        (document(kind="program"), r"theirs is wrong: models\[0\]\.kind"),
        (document(kind="checkpoint"), r"is a checkpoint with files of roles \['manifest'\]"),
        (document(files=[]), "theirs is wrong"),
        (document(files=[{"role": "manifest", "places": []}]), "theirs is wrong"),
        (document(files=[{"role": "manifest", "places": ["x"], "size": 10**12}]), "theirs is wrong"),
        (document(files=[{"role": "manifest", "places": ["x"], "sha256": "no"}]), "theirs is wrong"),
    ],
)
def test_a_wrong_catalogue_is_refused(given: object, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        parse(given)


def test_what_is_no_json_or_too_much_is_refused() -> None:
    with pytest.raises(ConfigError, match="is not JSON"):
        parse_catalogue(b"[" * 100_000, "theirs")
    with pytest.raises(ConfigError, match="larger than"):
        parse_catalogue(bytes(1 << 21), "theirs")


def test_only_licences_that_are_known_allow_commercial_use() -> None:
    check_commercial(Licence(name="Apache-2.0"), "one")
    for name in ("CC-BY-NC-4.0", "unstated", "apache-2.0 WITH conditions"):
        with pytest.raises(BundleError, match="not known to allow commercial use"):
            check_commercial(Licence(name=name), "one")


@pytest.mark.parametrize(
    ("name", "repository"),
    [
        ("owner/model", "owner/model"),
        ("owner/model@v1.0", "owner/model@v1.0"),
        ("hf://owner/model/", "owner/model"),
        ("https://huggingface.co/owner/model", "owner/model"),
        ("https://models.example/owner/model", None),
        ("model", None),
        ("./model", None),
        ("owner/../model", None),
        ("owner/model/file", None),
    ],
)
def test_repositories_of_the_hub_are_recognised(name: str, repository: str | None) -> None:
    assert hub_repository(name) == repository


@pytest.mark.parametrize(
    "place", ["hf://a/b", "hf://a/b/../c", "hf://a/b/c/d", "hf://a/b/c?d", "hf://a/b@x y/c", "hf:///b/c"]
)
def test_places_of_the_hub_are_strict(place: str) -> None:
    with pytest.raises(ConfigError, match="invalid place"):
        hub_file(place)
