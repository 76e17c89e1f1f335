"""Tables of captions in the layouts and encodings that people have them in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgecap.errors import TableError
from edgecap_train.evaluation.held_out import held_out
from edgecap_train.text.captioned_files import read_captioned_files
from edgecap_train.text.table_file import read_csv

CLIPS = {"a.wav": ("a dog barks", "a dog"), "b.wav": ("rain falls, hard",)}


def captions(table: Path) -> dict[str, tuple[str, ...]]:
    """File, from the table's folder, → captions."""
    return {str(clip.file.relative_to(table.parent)): clip.captions for clip in read_captioned_files(table)}


@pytest.mark.parametrize(
    "text",
    [
        'file,caption_1,caption_2\na.wav,a dog barks,a dog\nb.wav,"rain falls, hard",\n',
        'file_name,caption_1,caption_2\r\na.wav,a dog barks,a dog\r\nb.wav,"rain falls, hard"\r\n',
        'File Name;Caption 1;Caption 2\na.wav;a dog barks;a dog\nb.wav;"rain falls, hard";\n',
        "filename\tcaption\na.wav\ta dog barks\na.wav\ta dog\nb.wav\train falls, hard\n",
        'sep=;\nfile;caption\na.wav;a dog barks\na.wav;a dog\nb.wav;"rain falls, hard"\n',
        ' file , caption_1 , caption_2\n a.wav , a dog barks , a dog\nb.wav, "rain falls, hard",,,\n',
        'File,CAPTION_2,CAPTION_1\na.wav,a dog,a dog barks\nb.wav,,"rain falls, hard"\n,,\n',
        'path,text,tags\na.wav,a dog barks,dog\nb.wav,"rain falls, hard",rain\na.wav,a dog,\n',
        'file,caption\n"a.wav","a dog\nbarks"\na.wav,a dog\nb.wav,"rain falls, hard"\n',
        'audio,caption,caption\na.wav,a dog barks,a dog\nb.wav,"rain falls, hard",...\n',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_layouts_delimiters_and_encodings_are_read(text: str, encoding: str, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_bytes(text.encode(encoding))
    assert captions(table) == CLIPS


def test_all_captions_are_kept_and_the_data_sets_of_a_file_stay_apart(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    header = ",".join(f"caption_{number}" for number in range(1, 12))
    table.write_text(f"file,dataset,{header}\na.wav,A,{','.join('abcdefghijk')}\na.wav,B,x\na.wav,A,l\n")
    clips = read_captioned_files(table)
    assert [(clip.group, "".join(clip.captions)) for clip in clips] == [("A", "abcdefghijkl"), ("B", "x")]


def test_audiocaps_rows_are_clips_and_their_files_are_found_by_youtube_id(tmp_path: Path) -> None:
    ids = ["vfY_TJq7n_U", "rtdsG0hxcAg", "PMbw4Us7lDE", "-0123456789", "absent_____"]
    (tmp_path / "audio").mkdir()
    files = [f"{ids[0]}.wav", f"Y{ids[1]}.flac", f"audio/{ids[2]}_30.wav", f"audio/Y{ids[3]}_30.000_40.000.wav"]
    for name in files:
        (tmp_path / name).write_bytes(b"sound")
    rows = [f"{number},{name},30,caption {number % 5}" for number, name in enumerate(ids * 2)]
    table = tmp_path / "val.csv"
    table.write_text("\n".join(["audiocap_id,youtube_id,start_time,caption", *rows]) + "\n")
    expected = [(tmp_path / name, (f"caption {n}", f"caption {n}")) for n, name in enumerate(files)]
    clips = read_captioned_files(table)
    assert [(clip.file, clip.captions) for clip in clips[:4]] == expected
    assert not clips[4].file.exists()
    assert held_out(table) == frozenset(ids)


def test_wavcaps_json_and_lists_of_objects_are_read(tmp_path: Path) -> None:
    (tmp_path / "FreeSound").mkdir()
    (tmp_path / "FreeSound" / "180913.flac").write_bytes(b"sound")
    (tmp_path / "Yb0RFKhbpFJA.wav").write_bytes(b"sound")
    entries = [
        {"id": "180913", "file_name": "Bell 1", "caption": "a bell rings", "duration": 1.5, "tags": ["bell"]},
        {"id": "Yb0RFKhbpFJA.wav", "caption": "rain falls"},
    ]
    table = tmp_path / "fsd.json"
    table.write_text(json.dumps({"num_captions_per_audio": 1, "data": entries}))
    expected = {"FreeSound/180913.flac": ("a bell rings",), "Yb0RFKhbpFJA.wav": ("rain falls",)}
    assert captions(table) == expected
    lines = tmp_path / "metadata.jsonl"
    lines.write_text('{"file_name": "a.wav", "captions": ["a dog barks", "a dog"]}\n')
    assert captions(lines) == {"a.wav": ("a dog barks", "a dog")}
    table.write_text('{"data": [{"id": "180913", "title": "a bell"}]}')
    with pytest.raises(TableError, match="object 1 has the keys id, title; understood are file"):
        read_captioned_files(table)
    for text in ("{", '{"clips": []}', "[1]"):
        table.write_text(text)
        with pytest.raises(TableError, match=r"fsd.json is"):
            read_captioned_files(table)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("sound;label\na.wav;dog\n", "has the columns sound, label; understood are file (or file_name"),
        ("file,sound_id\na.wav,3\n", "has the columns file, sound_id; understood are"),
        ("file,caption\nb.wav,rain\na.wav,a dog barks, loudly\n", "line 3 of table.csv has 3 cells and the header 2"),
        ('file,caption\nb.wav,rain\na.wav,"a dog\nc.wav,wind\n', "line 3 of table.csv: the quotation marks"),
        ('file,caption\na.wav,"a dog\nb.wav,rain\nc.wav,"wind"\n', "line 2 of table.csv: the quotation marks"),
        ('file,caption\na.wav,"a dog\nb.wav,"\nc.wav,wind\n', "line 2 of table.csv: a quotation mark that opens here"),
        ("file,caption\nb.wav,rain\na.wav,...\n", "line 3 of table.csv: a.wav has no caption with a word"),
        ("file,caption\n,rain\n", "line 2 of table.csv names no file"),
        ("file,caption\n", "has a header and no rows"),
        ("", "table.csv is empty"),
        (" \n\n", "table.csv is empty"),
        (b"\xef\xbb\xbf", "table.csv is empty"),  # a byte order mark and no more
        (b"\xff\xfe", "table.csv is empty"),
        ("file,caption\na.wav,un café\n".encode("latin-1"), "line 2 of table.csv is not text in UTF-8; save the table"),
        (b"PK\x03\x04 a workbook", "is a spreadsheet or an archive; save it as CSV"),
        (b"RIFF\x00\x00WAVE", "is not a text file"),
    ],
)
def test_what_would_be_read_wrongly_is_refused_with_its_line_or_its_columns(
    data: str | bytes, message: str, tmp_path: Path
) -> None:
    table = tmp_path / "table.csv"
    table.write_bytes(data.encode() if isinstance(data, str) else data)
    with pytest.raises(TableError) as raised:
        read_captioned_files(table)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_table_that_is_a_folder_or_is_not_there_is_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.csv"):
        with pytest.raises(TableError, match="cannot be read"):
            read_csv(path)
