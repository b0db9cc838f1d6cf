"""The treebank through TFDS: same sentences, never stale, never half, never noisy."""

import errno
import hashlib
import os
import signal
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from shared import shared

from diffmask_jax.errors import UserError
from diffmask_jax.tasks.sst import SST, SstPlaces, load_sst
from diffmask_jax.tasks.trees import Sentence, read_trees

TREES = {
    # Enough lines for a shuffle to show.
    "train": "(2 b\u00e9)\n" + "".join(f"(3 (2 It) (4 (2 's) (3 n{i})))\n" for i in range(30)),
    "dev": "(1 (2 8\xa01\\/2) (0 bad))\n(4 (4 fun) (2 .))\n",
    "test": "(2 c)\n",
}
DEV = [Sentence(("8\xa01/2", "bad"), (2, 0), 1), Sentence(("fun", "."), (4, 2), 4)]


@pytest.fixture
def builder():
    """The TFDS side, to be spoiled by a test."""
    pytest.importorskip("tensorflow_datasets")
    from diffmask_jax.tasks import sst_builder

    return sst_builder


@pytest.fixture
def raw(tmp_path, builder):
    folder = tmp_path / "raw"
    folder.mkdir()
    for split, lines in TREES.items():
        (folder / f"{split}.txt").write_text(lines, encoding="utf-8")
    return folder


@pytest.fixture
def data(tmp_path):
    return tmp_path / "data"


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def run(code: str, *arguments: Path) -> subprocess.CompletedProcess:
    """A fresh Python process that sees the same package."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_every_split_in_the_order_of_its_file(raw, data):
    assert load_sst("dev", raw, data) == DEV
    for split in TREES:
        assert load_sst(split, raw, data) == read_trees(raw / f"{split}.txt")


def test_the_task_gives_its_examples(raw, data):
    examples = SST.read(SstPlaces(str(raw), str(data)), "dev")
    assert examples.texts == ["8\xa01/2 bad", "fun ."] and examples.second is None
    assert examples.gold.tolist() == [1, 4] and examples.rows == ["1", "2"]
    assert SST.splits == ("train", "dev", "test") and len(SST.labels) == 5
    with pytest.raises(UserError, match="nowhere is not a folder"):
        SST.read(SstPlaces(str(raw / "nowhere"), str(data)), "dev")


def test_a_second_call_reuses_the_prepared_copy(raw, data, builder, monkeypatch):
    load_sst("train", raw, data)
    before = {path: path.stat().st_mtime_ns for path in files(data)}
    monkeypatch.setattr(builder, "read_trees", lambda path: pytest.fail("prepared again"))
    assert load_sst("dev", raw, data) == DEV
    assert {path: path.stat().st_mtime_ns for path in files(data)} == before


def test_changed_files_are_prepared_anew(raw, data):
    load_sst("dev", raw, data)
    stat = (raw / "dev.txt").stat()
    changed = (raw / "dev.txt").read_text("utf-8").replace("fun", "fan")
    (raw / "dev.txt").write_text(changed, "utf-8")
    os.utime(raw / "dev.txt", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert load_sst("dev", raw, data)[1].words == ("fan", ".")


def test_prepared_silently(raw, data):
    code = (
        "import sys; from pathlib import Path; from diffmask_jax.tasks.sst import load_sst\n"
        "print(len(load_sst('dev', Path(sys.argv[1]), Path(sys.argv[2]))))"
    )
    for _ in ("prepares", "reuses"):
        result = run(code, raw, data)
        assert (result.stdout, result.stderr, result.returncode) == ("2\n", "", 0)


def test_a_killed_preparation_is_begun_again(raw, data):
    code = f"""if True:
        import os, sys
        from pathlib import Path
        from diffmask_jax.tasks import sst, sst_builder
        read = sst_builder.read_trees
        def read_or_die(path):
            if path.name == "test.txt":
                os.kill(os.getpid(), {int(signal.SIGKILL)})
            return read(path)
        sst_builder.read_trees = read_or_die
        sst.load_sst("dev", Path(sys.argv[1]), Path(sys.argv[2]))"""
    assert run(code, raw, data).returncode == -signal.SIGKILL
    assert any("incomplete" in str(path) for path in files(data))
    assert load_sst("dev", raw, data) == DEV
    assert load_sst("test", raw, data) == [Sentence(("c",), (2,), 2)]


def test_another_process_that_finishes_first_wins(raw, data, builder, monkeypatch):
    def read_after_the_other(path):
        if path.name == "test.txt":
            monkeypatch.setattr(builder, "read_trees", read_trees)
            load_sst("dev", raw, data)
        return read_trees(path)

    monkeypatch.setattr(builder, "read_trees", read_after_the_other)
    assert load_sst("dev", raw, data) == DEV
    assert not any("incomplete" in str(path) for path in data.rglob("*"))


def test_a_broken_tree_is_named_and_leaves_nothing(raw, data):
    with (raw / "test.txt").open("a", encoding="utf-8") as file:
        file.write("(2 d\n")
    with pytest.raises(UserError, match=r"test\.txt:2: broken tree"):
        load_sst("dev", raw, data)
    assert files(data) == []


@pytest.mark.parametrize("split", ["validation", "", "train[:50%]", "Dev"])
def test_an_unknown_split(split, raw, data):
    with pytest.raises(UserError, match="choose train, dev or test"):
        load_sst(split, raw, data)


def test_a_missing_folder_or_file(raw, data):
    with pytest.raises(UserError, match="nowhere is not a folder"):
        load_sst("dev", raw / "nowhere", data)
    (raw / "test.txt").unlink()
    with pytest.raises(UserError, match=r"lacks test\.txt"):
        load_sst("dev", raw, data)
    assert not data.exists()


def test_a_data_dir_that_cannot_be_written(raw, data):
    data.write_text("a file, not a folder")
    with pytest.raises(UserError, match=r"cannot write the prepared SST data.*data_dir"):
        load_sst("dev", raw, data)


@pytest.mark.parametrize("harm", [lambda path: path.unlink(), lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("name", ["*dev.array_record*", "dataset_info.json"])
def test_a_damaged_copy_is_named(raw, data, harm, name):
    load_sst("dev", raw, data)
    (path,) = data.glob(f"sst_trees/*/*/{name}")
    harm(path)
    with pytest.raises(UserError, match=f"copy {path.parents[1]} is damaged: delete that folder"):
        load_sst("dev", raw, data)


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.EACCES])
def test_a_copy_that_cannot_be_read_is_not_called_damaged(raw, data, monkeypatch, number):
    """Nobody is sent to delete it."""

    def failing(*_):
        raise OSError(number, os.strerror(number), "a.array_record")

    monkeypatch.setattr("diffmask_jax.tasks.prepared._prepared", failing)
    told = rf"^cannot read or write a\.array_record: {os.strerror(number)}$"
    with pytest.raises(UserError, match=told):
        load_sst("dev", raw, data)


@pytest.fixture
def archive(raw, tmp_path, builder, monkeypatch):
    """Stands in for the official zip."""
    path = tmp_path / "trees.zip"
    with zipfile.ZipFile(path, "w") as file:
        for split in TREES:
            file.write(raw / f"{split}.txt", f"trees/{split}.txt")
    monkeypatch.setattr(builder, "URL", path.as_uri())
    monkeypatch.setattr(builder, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    return path


def test_the_download_is_read_out_of_its_zip_once(archive, data):
    assert load_sst("dev", None, data) == DEV
    archive.unlink()
    assert load_sst("train", data_dir=data)[0] == Sentence(("b\u00e9",), (2,), 2)


def test_a_broken_tree_in_the_download(archive, data, builder, monkeypatch):
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("trees/train.txt", "(2 a)\n(2 b")
    monkeypatch.setattr(builder, "SHA256", hashlib.sha256(archive.read_bytes()).hexdigest())
    with pytest.raises(UserError, match=r"trees\.zip/trees/train\.txt:2: broken tree"):
        load_sst("dev", None, data)


def test_no_network(archive, data):
    archive.unlink()
    with pytest.raises(UserError, match=r"cannot download file:.*pass raw_dir"):
        load_sst("dev", None, data)
    assert files(data) == []


def test_another_file_at_the_address(archive, data):
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("trees/more.txt", "")
    with pytest.raises(UserError, match="is not the file it was"):
        load_sst("dev", None, data)
    assert files(data) == []


@pytest.mark.parametrize("missing", ["tensorflow_datasets", "importlib_resources"])
def test_tfds_is_asked_for_only_when_needed(missing, raw, data):
    code = f"""if True:
        import sys
        from pathlib import Path
        sys.modules[{missing!r}] = None
        from diffmask_jax.tasks.sst import load_sst
        from diffmask_jax.errors import UserError
        try:
            load_sst("dev", Path(sys.argv[1]), Path(sys.argv[2]))
        except UserError as error:
            print(error)"""
    result = run(code, raw, data)
    assert missing in result.stdout, result.stderr
    assert "run `pip install 'diffmask_jax[sst]'`" in result.stdout


@pytest.mark.long
def test_the_real_treebank(data):
    pytest.importorskip("tensorflow_datasets")
    (real,) = shared("data/sst")
    sentences = {split: load_sst(split, real, data) for split in TREES}
    assert [len(s) for s in sentences.values()] == [8544, 1101, 2210]
    words = {split: sum(len(one.words) for one in s) for split, s in sentences.items()}
    assert words == {"train": 163563, "dev": 21274, "test": 42405}
    roots = {split: Counter(one.label for one in s) for split, s in sentences.items()}
    assert [roots["train"][label] for label in range(5)] == [1092, 2218, 1624, 2322, 1288]
    assert [roots["dev"][label] for label in range(5)] == [139, 289, 229, 279, 165]
    for split, loaded in sentences.items():
        assert loaded == read_trees(real / f"{split}.txt")
