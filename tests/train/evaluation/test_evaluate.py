"""`edgecap evaluate`: the metrics against figures known from elsewhere, and its messages about recordings and files."""

from __future__ import annotations

import base64
import csv
import importlib
import io
import json
import math
import re
import resource
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import soundfile
import torch

from edgecap.audio.file import decode
from edgecap.audio.frontend import FrontEnd
from edgecap.cli import run
from edgecap.errors import AudioError, OutputError, TableError
from edgecap.inference.decoding import Hypothesis
from edgecap.util.files import save_array, write_atomically
from edgecap_train.checkpoints.checkpoint import save_student
from edgecap_train.evaluation import held_out as evaluation
from edgecap_train.evaluation import lexical, metrics
from edgecap_train.evaluation.evaluated import EvaluatedBundle, EvaluatedCheckpoint, first_windows, open_model
from edgecap_train.evaluation.held_out import caption_all, cider_d, read_references, read_scored_references
from edgecap_train.evaluation.metrics import METRICS, Clips, MetricSpec, MetricUnavailableError
from edgecap_train.evaluation.page import spectrogram_png
from edgecap_train.evaluation.sentence_metrics import similarity, spice
from edgecap_train.models.student import Student, StudentConfig
from support.signals import noise, tone

CAPTIONS = ("a dog barks", "rain falls on a roof", "a man speaks")
REFERENCES = (
    ("a dog barks", "a dog barks loudly"),
    ("rain is falling", "it rains on a roof"),
    ("a woman sings", "music plays"),
)
WORDS = ("<pad>", "<start>", "<end>", "<unk>", "rain", "falls", "hard")


@pytest.fixture(scope="module")
def scores() -> metrics.Scores:
    return metrics.score(CAPTIONS, REFERENCES)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Three recordings, one of which is no sound, and one row of another data set."""
    soundfile.write(tmp_path / "noise.wav", noise(2.0), 16_000)
    soundfile.write(tmp_path / "tone.flac", tone(12.0, 44_100), 44_100)
    (tmp_path / "broken.ogg").write_bytes(b"no sound at all")
    rows = [
        "file,dataset,caption_1,caption_2",
        "noise.wav,A,rain falls hard,wind blows",
        "broken.ogg,A,a dog barks,",
        "tone.flac,A,a tone sounds,a whistle blows",
        "tone.flac,B,a tone sounds,",
    ]
    (tmp_path / "table.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "table.csv"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = StudentConfig(
        encoder="yamnet",
        front_end=FrontEnd(),
        vocabulary_size=len(WORDS),
        d_model=16,
        heads=2,
        layers=1,
        feed_forward=16,
    )
    path = tmp_path_factory.mktemp("run") / "student.safetensors"
    save_student(path, Student(config).eval(), WORDS)
    return path


def test_a_corpus_bleu_is_the_known_one_and_its_interval_holds_it(scores: metrics.Scores) -> None:
    # right unigrams 3 + 5 + 1 ("rain falls on a roof": rain, on, a, roof = 4; "a man speaks": a), of 3 + 5 + 3
    right, words, lengths = 3 + 4 + 1, 11, 3 + 5 + 3
    assert scores.metrics["bleu_1"].mean == pytest.approx(right / words * math.exp(min(0.0, 1 - lengths / words)))
    for order in range(1, 5):
        bleu = scores.metrics[f"bleu_{order}"]
        assert bleu.low <= bleu.mean <= bleu.high
        assert len(bleu.clips) == len(CAPTIONS)


def test_the_counts_that_bleu_is_resampled_from_give_aac_metrics_own_figure() -> None:
    rng = np.random.default_rng(0)
    words = np.array(["a", "dog", "rain", "falls", "on", "the", "roof", "barks", "loudly", "and"])
    captions = [" ".join(rng.choice(words, rng.integers(3, 9))) for _ in range(40)]
    human = [[" ".join(rng.choice(words, rng.integers(3, 9))) for _ in range(3)] for _ in captions]
    clips = Clips(captions, human)
    clips.draws = np.arange(len(captions))[None]  # each clip once
    for metric in (compute(clips) for compute in (lexical.bleu_1, lexical.bleu_2, lexical.bleu_3, lexical.bleu_4)):
        assert metric.low == pytest.approx(metric.mean, rel=1e-9)


def test_captions_that_repeat_are_less_distinct_and_the_commonest_is_counted() -> None:
    captions = ["A dog barks.", "a dog barks", "rain falls", "a man speaks"]
    scores = metrics.score(captions, [[text] for text in captions])
    assert scores.metrics["distinct"].mean == 3 / 4
    assert scores.metrics["distinct"].clips == (0.5, 0.5, 1.0, 1.0)
    assert scores.metrics["commonest"].mean == 2 / 4
    assert scores.metrics["commonest"].clips == (1.0, 1.0, 0.0, 0.0)
    assert scores.metrics["commonest"].low < 0.5 < scores.metrics["commonest"].high


def words_per_caption(clips: Clips) -> metrics.Metric:
    """A metric of one line, for the test below."""
    return clips.mean([len(words.split()) for words in clips.words])


def test_a_metric_is_one_function_and_one_line_of_the_table(
    monkeypatch: pytest.MonkeyPatch, tiny_folder: Path, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lexical, "words_per_caption", words_per_caption, raising=False)
    spec = MetricSpec("words", "words per caption", "lexical:words_per_caption")
    missing = MetricSpec("absent", "absent", "no_such_module:absent", "the package that nobody has")
    monkeypatch.setattr(metrics, "METRICS", (spec, missing))
    monkeypatch.setattr(metrics, "TITLES", {"words": spec.title, "absent": missing.title})
    assert run(["evaluate", str(tiny_folder), "--data", str(table), "--csv", str(table.parent / "clips.csv")]) == 0
    output = capsys.readouterr()
    assert re.search(r"^words per caption +\d", output.out, re.MULTILINE)
    assert "absent was not computed: it needs the package that nobody has" in output.err
    assert (table.parent / "clips.csv").read_text().startswith("file,caption,words,references")


def test_captions_that_agree_score_highest_and_the_clips_scores_average_to_the_mean(scores: metrics.Scores) -> None:
    for name in ("cider_d", "rouge_l", "similarity"):
        metric = scores.metrics[name]
        assert metric.clips[0] == max(metric.clips)
        assert metric.mean == pytest.approx(np.mean(metric.clips))
        assert metric.low < metric.mean < metric.high
    assert cider_d(CAPTIONS, REFERENCES).mean == scores.metrics["cider_d"].mean


def test_a_sentence_that_means_the_same_is_more_similar_than_another() -> None:
    pair = Clips(["a dog is barking", "a dog is barking"], [["a hound barks"], ["it rains"]])
    same, other = similarity(pair).clips
    assert same > other + 0.2


def test_what_needs_files_that_are_not_here_is_named_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AAC_METRICS_CACHE_PATH", str(tmp_path))
    monkeypatch.setenv("FENSE_DATA", str(tmp_path))
    scores = metrics.score(CAPTIONS, REFERENCES)
    assert set(scores.missing) == {"meteor", "spice", "spider", "fense"}
    assert "aac-metrics-download" in scores.missing["fense"]
    monkeypatch.setenv("AAC_METRICS_JAVA_PATH", str(tmp_path / "java"))
    with pytest.raises(MetricUnavailableError, match="Java"):
        spice(Clips(CAPTIONS, REFERENCES))
    assert set(scores.metrics) | set(scores.missing) == {spec.name for spec in METRICS}


def test_scoring_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="0 captions"):
        metrics.score([], [])


def test_one_clip_has_no_cider_d_and_all_other_scores() -> None:
    scores = metrics.score(CAPTIONS[:1], REFERENCES[:1])
    assert scores.metrics["bleu_1"].mean == pytest.approx(1.0)
    assert scores.metrics["rouge_l"].mean == scores.metrics["distinct"].mean == 1.0
    assert scores.missing["cider_d"] == scores.missing["spider"] == "it needs at least 2 clips, and there is 1"


def test_references_without_a_word_are_left_out() -> None:
    blanks = [(*clip, "...", "  ", "-") for clip in REFERENCES]
    scores = metrics.score(CAPTIONS, blanks)
    plain = metrics.score(CAPTIONS, REFERENCES)
    assert {name: metric.mean for name, metric in scores.metrics.items()} == {
        name: metric.mean for name, metric in plain.metrics.items()
    }
    with pytest.raises(ValueError, match="clip 1 has no reference with a word"):
        Clips(CAPTIONS[:2], [("a dog",), ("...",)])


def test_captions_with_accents_have_the_cider_d_that_aac_metrics_gives_their_words() -> None:
    captions = ["un chien aboie près d'un café", "une forêt naïve", "le vent à 10:30"]
    human = [
        ["un chien aboie au café", "un chien près du cafe\u0301"],
        ["la forêt est naïve", "une forêt"],
        ["le vent à 10:30", "du vent"],
    ]
    spaced = [[text.replace("\u0301", "").replace("cafe", "café") for text in clip] for clip in human]
    module = importlib.import_module("aac_metrics.functional.cider_d")
    expected, _ = module.cider_d(captions, spaced)
    assert cider_d(captions, human).mean == pytest.approx(float(expected["cider_d"]), abs=1e-9)


@pytest.mark.parametrize("rows", ["noise.wav,A,rain", "noise.wav,A,rain\nbroken.ogg,A,a dog", "tone.flac,B,...,a tone"])
def test_a_table_with_one_usable_clip_is_scored_by_what_one_clip_has(
    rows: str, tiny_folder: Path, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = table.parent / "one.csv"
    one.write_text(f"file,dataset,caption_1,caption_2\n{rows}\n")
    page = table.parent / "page.html"
    assert run(["evaluate", str(tiny_folder), "--data", str(one), "--html", str(page)]) == 0
    output = capsys.readouterr()
    assert "CIDEr-D was not computed: it needs at least 2 clips, and there is 1" in output.err
    assert re.search(r"^ROUGE-L +\d", output.out, re.MULTILINE)
    assert "CIDEr-D" not in output.out
    assert "the worst by ROUGE-L first" in page.read_text()


def test_a_data_set_that_leaves_one_clip_is_scored_likewise(
    tiny_folder: Path, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["evaluate", str(tiny_folder), "--data", str(table), "--dataset", "B", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert "at least 2 clips" in document["missing"]["cider_d"]
    assert "rouge_l" in document["metrics"]


def test_what_is_to_be_scored_by_cider_d_needs_two_recordings_that_can_be_read(table: Path) -> None:
    assert len(read_scored_references(table)) == 4
    one = table.parent / "one.csv"
    one.write_text("file,caption_1\nnoise.wav,rain\n")
    with pytest.raises(TableError, match=r"one.csv names 1 recording, and a score needs at least 2"):
        read_scored_references(one)
    one.write_text("file,caption_1\nnoise.wav,rain\nbroken.ogg,a dog\n")
    with pytest.raises(AudioError, match="1 of 2 recordings can be read, and a score needs at least 2"):
        first_windows(read_scored_references(one), 16_000, least=2)


def test_a_bundle_is_scored_and_a_broken_recording_is_left_out_and_named(
    tiny_folder: Path, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = {name: table.parent / name for name in ("clips.csv", "clips.html")}
    assert (
        run(
            [
                "evaluate",
                str(tiny_folder),
                "--data",
                str(table),
                "--dataset",
                "A",
                "--json",
                "--csv",
                str(out["clips.csv"]),
                "--html",
                str(out["clips.html"]),
            ]
        )
        == 0
    )
    output = capsys.readouterr()
    document = json.loads(output.out)
    assert [Path(clip["file"]).name for clip in document["clips"]] == ["noise.wav", "tone.flac"]
    assert [Path(one["file"]).name for one in document["skipped"]] == ["broken.ogg"]
    assert "broken.ogg" in output.err
    assert "1 of 3 recordings could not be read" in output.err
    with out["clips.csv"].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["caption"] for row in rows] == [clip["caption"] for clip in document["clips"]]
    assert float(rows[0]["rouge_l"]) == pytest.approx(document["clips"][0]["rouge_l"], abs=1e-4)
    page = out["clips.html"].read_text()
    assert page.count("<article>") == page.count("<audio") == page.count("data:image/png") == 2
    assert "rain falls hard" in page
    sound = re.search(r"data:audio/wav;base64,([^\"]+)", page)
    assert sound is not None
    assert base64.b64decode(sound[1]) == (table.parent / "noise.wav").read_bytes()
    assert "http" not in page


def test_recordings_of_one_name_in_two_folders_stay_apart_in_the_csv(tiny_folder: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "1.wav", noise(1.0), 16_000)
    table = tmp_path / "table.csv"
    table.write_text("file,caption\na/1.wav,rain falls\nb/1.wav,wind blows\n")
    assert run(["evaluate", str(tiny_folder), "--data", str(table), "--csv", str(tmp_path / "clips.csv")]) == 0
    with (tmp_path / "clips.csv").open(newline="") as file:
        assert [row["file"] for row in csv.DictReader(file)] == ["a/1.wav", "b/1.wav"]


def test_figures_for_people_and_linked_sounds(
    tiny_folder: Path, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    html = table.parent / "page.html"
    assert run(["evaluate", str(tiny_folder), "--data", str(table), "--html", str(html), "--link-audio"]) == 0
    output = capsys.readouterr().out
    assert re.search(r"^CIDEr-D +\d\.\d{3} +\[\d\.\d{3}, \d\.\d{3}\]$", output, re.MULTILINE)
    assert re.search(r"^sentence similarity +-?\d\.\d{3}", output, re.MULTILINE)
    assert "3 clips, " in output
    assert (table.parent / "noise.wav").resolve().as_uri() in html.read_text()


def test_a_checkpoint_and_the_folder_of_a_run_are_captioned_as_pytorch_runs_them(
    checkpoint: Path, tiny_folder: Path
) -> None:
    by_file, by_folder = open_model(str(checkpoint)), open_model(str(checkpoint.parent))
    assert isinstance(by_file, EvaluatedCheckpoint)
    assert isinstance(open_model(str(tiny_folder)), EvaluatedBundle)
    samples = noise(3.0)
    assert by_file.caption(samples, 1) == by_folder.caption(samples, 1)
    assert set(by_file.caption(samples, None).split()) <= set(WORDS)
    assert by_file.caption(np.zeros(16_000, np.float32), None) == "silence"


def test_ten_seconds_of_a_recording_are_decoded_at_the_models_rate(table: Path) -> None:
    samples = decode(table.parent / "tone.flac", 16_000, 10.0)
    assert samples.shape == (160_000,)
    spectrum = np.abs(np.fft.rfft(samples))
    assert np.fft.rfftfreq(samples.size, 1 / 16_000)[spectrum.argmax()] == pytest.approx(440.0, abs=0.2)
    assert decode(table.parent / "noise.wav", 16_000, 10.0).shape == (32_000,)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("place,caption_1\nx.wav,rain\n", "has the columns place, caption_1; understood are file"),
        ("file,label\nx.wav,rain\n", "caption_1"),
        ("file,caption_1\nx.wav,\n", "x.wav"),
    ],
)
def test_a_table_without_its_columns_or_captions_is_refused(text: str, place: str, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(TableError, match=place):
        read_references(tmp_path / "table.csv")


def test_a_table_out_of_a_spreadsheet_is_read_and_a_short_row_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_bytes(b"\xef\xbb\xbffile,caption_1,dataset\nx.wav,rain\ny.wav,wind,A\n")
    assert [(row.file.name, row.group) for row in read_references(tmp_path / "table.csv")] == [
        ("x.wav", ""),
        ("y.wav", "A"),
    ]


def test_recordings_that_can_be_read_are_decoded_and_the_others_are_named(
    table: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = read_references(table)
    readable, sounds = first_windows(rows, 16_000)
    assert [row.file.name for row in readable] == ["noise.wav", "tone.flac", "tone.flac"]
    assert [samples.size for samples in sounds] == [32_000, 160_000, 160_000]
    assert "broken.ogg" in caplog.text
    assert "1 of 4 recordings cannot be read" in caplog.text
    with pytest.raises(AudioError, match="none of the 1 recordings"):
        first_windows(rows[1:2], 16_000)


def test_a_student_captions_on_the_device_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    config = StudentConfig(
        encoder="yamnet",
        front_end=FrontEnd(),
        vocabulary_size=len(WORDS),
        d_model=16,
        heads=2,
        layers=1,
        feed_forward=16,
    )
    student = Student(config).eval().to("meta")  # another device than the spectrograms', on every machine
    asked: list[str] = []

    def search(_: Student, memory: torch.Tensor, length: torch.Tensor, *, beam: int) -> list[Hypothesis]:
        asked.extend((memory.device.type, length.device.type))
        return [Hypothesis((4, 5, 2), 0.0, (0.0, 0.0, 0.0))]

    monkeypatch.setattr(evaluation, "search", search)
    assert caption_all(student, [np.zeros((64, 96), np.float32)], WORDS, beam=1) == ["rain falls"]
    assert asked == ["meta", "meta"]


def test_tables_that_fit_nothing_and_models_that_are_not_there_are_one_line(
    tiny_folder: Path, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["evaluate", str(tiny_folder), "--data", str(table), "--references", "5"]) == TableError.exit_code == 12
    assert run(["evaluate", "nobody", "--data", str(table)]) == 4
    assert run(["evaluate", str(table.parent / "none.safetensors"), "--data", str(table)]) == 8
    assert run(["evaluate", str(tiny_folder), "--data", str(table.parent / "none.csv")]) == TableError.exit_code
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert all(line.startswith("edgecap: error: ") for line in lines)


def test_recordings_none_of_which_can_be_read_are_an_error(
    tiny_folder: Path, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("noise.wav", "tone.flac"):
        (table.parent / name).unlink()
    assert run(["evaluate", str(tiny_folder), "--data", str(table)]) == 3
    assert "none of the 4 recordings" in capsys.readouterr().err


def test_a_spectrogram_is_a_picture_with_the_low_bands_at_the_bottom() -> None:
    spectrogram = np.full((64, 50), -100.0, np.float32)
    spectrogram[3] = 0.0
    image = matplotlib.image.imread(io.BytesIO(spectrogram_png(spectrogram, FrontEnd())))
    assert image.shape[:2] == (64, 50)
    assert image[..., :3].sum(axis=(1, 2)).argmax() == 60


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    write_atomically(tmp_path / "new" / "file", "text")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]
    with pytest.raises(OutputError, match="cannot be written"):
        write_atomically(tmp_path / "new" / "file" / "below", "text")


def test_an_array_that_finds_no_room_says_so_and_leaves_the_one_before(tmp_path: Path) -> None:
    save_array(tmp_path / "array.npy", np.arange(10))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, limits[1]))
    try:
        with pytest.raises(OutputError, match="File too large"):
            save_array(tmp_path / "array.npy", np.zeros(10_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert np.load(tmp_path / "array.npy").tolist() == list(range(10))
    assert [path.name for path in tmp_path.iterdir()] == ["array.npy"]
