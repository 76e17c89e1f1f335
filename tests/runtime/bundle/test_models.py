"""Models are found by name or by folder, the user's own first."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecap import Captioner
from edgecap.bundle import models
from edgecap.bundle.models import find_model, list_models
from edgecap.errors import BundleError, ManifestError
from support.tiny_model import write_tiny_bundle


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The user's folder of models and the package's, both in a temporary place."""
    monkeypatch.setenv("EDGECAP_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(models, "BUNDLED", tmp_path / "package")
    monkeypatch.setattr(models, "DEFAULT_FILE", tmp_path / "package" / "default")
    monkeypatch.chdir(tmp_path)
    for folder in ("home/models", "package"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path / "home" / "models", tmp_path / "package"


def test_the_only_bundled_model_is_the_default(places: tuple[Path, Path]) -> None:
    own, package = places
    write_tiny_bundle(package / "first")
    write_tiny_bundle(own / "another")
    assert find_model() == package / "first"


def test_a_file_names_the_default_among_several(places: tuple[Path, Path]) -> None:
    _, package = places
    for name in ("first", "second"):
        write_tiny_bundle(package / name)
    (package / "default").write_text("second\n")
    assert find_model() == package / "second"


def test_a_package_without_models_says_so(places: tuple[Path, Path]) -> None:
    with pytest.raises(BundleError, match="contains no model"):
        find_model()


def test_ones_own_model_comes_before_the_bundled_one_of_its_name(places: tuple[Path, Path]) -> None:
    own, package = places
    write_tiny_bundle(package / "one")
    assert find_model("one") == package / "one"
    write_tiny_bundle(own / "one")
    assert find_model("one") == own / "one"


def test_a_folder_is_taken_as_it_is(places: tuple[Path, Path], tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "here")
    assert find_model(tmp_path / "here") == tmp_path / "here"
    assert find_model(str(tmp_path / "here")) == tmp_path / "here"
    assert find_model("here") == Path("here")
    assert find_model("./nowhere") == Path("./nowhere")


def test_an_unknown_name_is_answered_with_the_known_ones(places: tuple[Path, Path]) -> None:
    write_tiny_bundle(places[1] / "one")
    with pytest.raises(BundleError, match="called 'two'; known: one"):
        find_model("two")


def test_a_model_that_cannot_be_read_is_listed_with_its_fault(places: tuple[Path, Path]) -> None:
    own, package = places
    write_tiny_bundle(package / "good")
    (own / "bad").mkdir()
    (own / "bad" / "manifest.json").write_text("{}")
    (own / "no-model").mkdir()
    bad, good = list_models()
    assert (bad.name, bad.bundled, bad.manifest, bad.size) == ("bad", False, None, 0)
    assert "not of an edgecap bundle" in bad.fault
    assert good.bundled
    assert good.manifest is not None
    assert good.size > 1000
    with pytest.raises(ManifestError):
        Captioner.load("bad")


def test_the_users_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("EDGECAP_HOME", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert models.home() == tmp_path / "data" / "edgecap"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert models.home() == tmp_path / ".local" / "share" / "edgecap"
