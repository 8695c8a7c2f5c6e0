import copy
import io
import json
import shutil
import struct
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression

from tfcells.backbones.golden import golden_picture
from tfcells.errors import DamageError, RequestError
from tfcells.images.decode import decode_image
from tfcells.serving.card import check_card, find_export
from tfcells.serving.export import ExportedParts, ServedModel, export_classifier
from tfcells.serving.png import encode_png

PARITY = 1e-5

FRESH_PROCESS = """
import json, sys
# Keras imports scikit-learn where it finds it: here neither it nor tfcells can be imported.
sys.modules["sklearn"] = sys.modules["tfcells"] = None
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
files = [open(name, "rb").read() for name in sys.argv[2:]]
answer = model(tf.constant(files))
print(json.dumps({
    "blocked": [sys.modules["sklearn"], sys.modules["tfcells"]],
    "probabilities": answer["probabilities"].numpy().tolist(),
    "label": [label.decode() for label in answer["label"].numpy()],
}))
"""


def saved(kind, picture, **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def turned(value):
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


@pytest.fixture(scope="module")
def files(cell_folder, cells):
    return [cell_folder / id for id in cells.ids[::5]]


@pytest.fixture
def copied(exported, tmp_path):
    """A copy of the export that may be damaged."""
    return Path(shutil.copytree(exported.folder, tmp_path / "export"))


def change_card(folder, change):
    card = json.loads((folder / "card.json").read_text())
    change(card)
    (folder / "card.json").write_text(json.dumps(card))


def test_the_signatures_are_those_that_are_documented(served):
    signatures = served._loaded.signatures
    assert set(signatures) == {"serving_default", "check"}
    serve, check = signatures["serving_default"], signatures["check"]
    for signature in (serve, check):
        ((name, spec),) = signature.structured_input_signature[1].items()
        assert (name, spec.dtype.name, spec.shape.as_list()) == ("image_bytes", "string", [None])
    outputs = {name: (spec.dtype.name, spec.shape.as_list()) for name, spec in serve.structured_outputs.items()}
    assert outputs == {
        "probabilities": ("float32", [None, 3]),
        "classes": ("string", [None, 3]),
        "label": ("string", [None]),
        "confidence": ("float32", [None]),
        "embedding": ("float32", [None, 20]),
    }
    assert {name: spec.dtype.name for name, spec in check.structured_outputs.items()} == {"problem": "string"}


def test_the_answers_are_those_of_the_python_path(served, exported, files):
    pixels = [decode_image(file.read_bytes()) for file in files]
    found = served.classify([file.read_bytes() for file in files])
    np.testing.assert_allclose(found, exported.probabilities(pixels), atol=PARITY)
    assert found.dtype == np.float64


def test_the_outputs_agree_with_one_another(served, exported, files):
    answer = served._serve(image_bytes=tensor([file.read_bytes() for file in files]))
    probabilities = answer["probabilities"].numpy()
    names = [[name.decode() for name in row] for row in answer["classes"].numpy()]
    assert names == [list(exported.parts.class_names)] * len(files)
    assert [label.decode() for label in answer["label"].numpy()] == [
        served.class_names[index] for index in probabilities.argmax(axis=1)
    ]
    np.testing.assert_array_equal(answer["confidence"].numpy(), probabilities.max(axis=1))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


def tensor(files):
    import tensorflow as tf

    return tf.constant(files, tf.string)


def test_an_answer_does_not_depend_on_what_else_is_in_the_batch(served, files):
    data = [file.read_bytes() for file in files]
    alone = np.concatenate([served.classify([one]) for one in data])
    np.testing.assert_allclose(served.classify(data), alone, atol=1e-6)
    np.testing.assert_allclose(served.classify(data[::-1]), alone[::-1], atol=1e-6)


def test_pictures_of_any_size_share_a_batch(served):
    sizes = [(1, 1), (3, 50), (300, 2), (64, 64)]
    pictures = [np.full((height, width, 3), 90, dtype=np.uint8) for height, width in sizes]
    found = served.classify_pixels(pictures)
    np.testing.assert_allclose(found, np.repeat(found[:1], 4, axis=0), atol=1e-5)


def test_no_file_gets_no_answer(served):
    assert served.classify([]).shape == (0, 3)
    assert served.classify_pixels([]).shape == (0, 3)
    assert served.problems([]) == []
    answer = served._serve(image_bytes=tensor([]))
    assert {name: value.shape[0] for name, value in answer.items()} == dict.fromkeys(answer, 0)


def test_a_declined_file_is_named_by_its_place_and_its_reason(served, files):
    good, tiff = files[0].read_bytes(), saved("TIFF", Image.open(files[0]))
    with pytest.raises(DamageError, match=r"image_bytes\[1\] declined: not a JPEG, PNG or BMP file"):
        served.probabilities([good, tiff, good])
    assert [bool(problem) for problem in served.problems([good, tiff, good])] == [False, True, False]


def test_a_file_damaged_behind_its_header_is_an_error_and_no_answer(served, files):
    data = files[0].read_bytes()
    with pytest.raises(DamageError, match="declined a file"):
        served.probabilities([data[: len(data) // 2]])


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("TIFF", {}),
        ("WEBP", {"lossless": True}),
        ("GIF", {}),
        ("JPEG", {"exif": 6}),
        ("PNG", {"exif": 3}),
        ("JPEG", {"mode": "CMYK"}),
        ("PNG", {"mode": "I;16"}),
        ("BMP", {"mode": "L"}),
    ],
)
def test_what_the_graph_declines_is_handed_over_as_png_and_answered_alike(served, files, kind, options):
    picture = Image.open(files[0])
    if options.get("mode") == "I;16":
        picture = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    elif "mode" in options:
        picture = picture.convert(options["mode"])
    if "exif" in options:
        options = {"exif": turned(options["exif"])}
    data = saved(kind, picture, **{name: value for name, value in options.items() if name != "mode"})
    assert served.problems([data])[0]
    plain = files[1].read_bytes()
    expected = served.classify_pixels([decode_image(data), decode_image(plain)])
    np.testing.assert_allclose(served.classify([data, plain]), expected, atol=1e-6)


def test_what_only_python_can_decode_is_handed_over_as_png_too(served, files):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 7, 8, 2, 0, 0, 0))
    four_lines = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + bytes([40 * row] * 27) for row in range(4))))
    cut, plain = b"\x89PNG\r\n\x1a\n" + header + four_lines + chunk(b"IEND", b""), files[0].read_bytes()
    assert served.problems([cut]) == [""]
    with pytest.raises(DamageError, match="declined a file"):
        served.probabilities([cut])
    expected = served.classify_pixels([decode_image(cut), decode_image(plain)])
    np.testing.assert_allclose(served.classify([cut, plain]), expected, atol=1e-6)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_a_fresh_process_with_nothing_but_tensorflow_gives_the_python_path_s_answer(exported, files, tmp_path):
    folder = shutil.copytree(exported.folder / "1", tmp_path / "elsewhere")  # nothing beside it is needed
    program = [sys.executable, "-I", "-c", FRESH_PROCESS, str(folder), *map(str, files)]
    done = subprocess.run(program, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["blocked"] == [None, None]
    expected = exported.probabilities([decode_image(file.read_bytes()) for file in files])
    np.testing.assert_allclose(answer["probabilities"], expected, atol=PARITY)
    assert answer["label"] == [exported.parts.class_names[index] for index in expected.argmax(axis=1)]


@pytest.mark.slow
def test_the_command_line_tool_of_tensorflow_runs_it(exported, files, tmp_path):
    np.save(tmp_path / "files.npy", np.array([file.read_bytes() for file in files[:2]], dtype=object))
    tool = Path(sys.executable).with_name("saved_model_cli")
    command = [tool, "run", "--dir", exported.folder / "1", "--tag_set", "serve"]
    command += ["--signature_def", "serving_default", "--inputs", f"image_bytes={tmp_path / 'files.npy'}"]
    done = subprocess.run([*command, "--outdir", tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = exported.probabilities([decode_image(file.read_bytes()) for file in files[:2]])
    np.testing.assert_allclose(np.load(tmp_path / "probabilities.npy"), expected, atol=PARITY)


def test_the_card_says_what_the_export_is_and_nothing_is_left_beside_it(exported, served):
    assert served.card["study"] == "tiny"
    assert served.card["classes"] == list(exported.parts.class_names) == list(served.class_names)
    assert served.card["widths"] == [12, 8]
    assert list(served.card["golden"]) == ["late", "early"]
    assert sorted(path.name for path in exported.folder.iterdir()) == ["1", "card.json"]


def test_a_fingerprint_that_was_changed_is_found_out(copied):
    change_card(copied, lambda card: card["golden"]["late"].__setitem__(3, 9.0))
    with pytest.raises(DamageError, match=r"golden check of the export .* failed at tap 'late'"):
        ServedModel(copied)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda card: card["golden"].pop("early"), r"speaks of the classes .* One of the two is of another export"),
        (lambda card: card["golden"].clear(), "speaks of the classes"),
        (lambda card: card.update(widths=[20, 0]), "features of widths"),
        (lambda card: card.update(widths=[12, 7]), "features of widths"),
        (lambda card: card.update(widths=[8, 12]), "golden check of the export"),
        (lambda card: card["classes"].reverse(), r"the model answers for .*eosinophil"),
        (lambda card: card["classes"].pop(), "speaks of the classes"),
    ],
)
def test_a_card_of_another_export_is_found_out(served, exported, change, message):
    card = copy.deepcopy(served.card)
    answer = served._serve(image_bytes=tensor([encode_png(golden_picture())]))
    classes, embedding = answer["classes"].numpy()[0], answer["embedding"].numpy()
    check_card(card, classes, embedding, exported.folder)
    change(card)
    with pytest.raises(DamageError, match=message):
        check_card(card, classes, embedding, exported.folder)


def test_a_card_without_a_fingerprint_is_damage(copied):
    change_card(copied, lambda card: card.pop("golden"))
    with pytest.raises(DamageError, match=r"has no golden\. Export the run again"):
        ServedModel(copied)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00"])
def test_a_card_that_cannot_be_read_is_damage(copied, text):
    (copied / "card.json").write_text(text)
    with pytest.raises(DamageError, match=r"card\.json (cannot be read|has no).*Export the run again"):
        ServedModel(copied)


def test_an_export_with_another_channel_order_is_caught_and_replaces_all_of_the_old_one(exported, open_tiny, copied):
    from tfcells.backbones.cut import cut_backbone

    turned = replace(open_tiny.row, preprocessing=replace(open_tiny.row.preprocessing, channel_order="bgr"))
    backbone = replace(open_tiny, row=turned)
    parts = replace(exported.parts, backbone=backbone, network=cut_backbone(backbone, exported.parts.taps))
    (copied / ".writing").mkdir()  # a killed export leaves it
    (copied / "1" / "old").touch()
    export_classifier(parts, into=copied, card={}, golden=exported.golden)
    assert sorted(path.name for path in copied.iterdir()) == ["1", "card.json"]
    assert not (copied / "1" / "old").exists()
    with pytest.raises(DamageError, match=r"golden check .*channel order"):
        ServedModel(copied)


def test_a_probe_that_has_not_learned_every_class_is_not_exported(exported):
    probe = LogisticRegression().fit(np.eye(20)[:4], [0, 2, 0, 2])
    with pytest.raises(RequestError, match=r"answers for the classes \[0, 2\], 3 names came"):
        replace(exported.parts, probe=probe)
    with pytest.raises(RequestError, match="2 names came"):
        ExportedParts(**{**vars(exported.parts), "class_names": ("a", "b")})


def test_an_export_is_found_by_its_folder_by_its_version_and_by_its_run(copied, tmp_path, monkeypatch):
    assert find_export(copied) == find_export(tmp_path) == copied
    assert find_export(copied / "1") == copied
    monkeypatch.chdir(copied / "1")
    assert find_export(Path()).resolve() == copied.resolve()


@pytest.mark.parametrize("name", ["", "missing", "export/1/variables", "export/2", "export/card.json", "export/oops"])
def test_what_is_no_export_is_refused_however_near_one_lies(exported, tmp_path, name):
    shutil.copytree(exported.folder, tmp_path / "export")
    if not name:
        (tmp_path / "export" / "card.json").unlink()
    with pytest.raises(RequestError, match=r"holds no export.*make one with `tfcells export`"):
        find_export(tmp_path / name)


def test_png_bytes_hold_the_pixels_without_loss():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 9, 3), dtype=np.uint8)
    np.testing.assert_array_equal(decode_image(encode_png(pixels)), pixels)
