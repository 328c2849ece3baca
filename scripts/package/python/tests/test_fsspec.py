"""fsspec's own abstract suite, then what people do with it."""

import fsspec
import pytest
from fsspec.tests import abstract


class Fixtures(abstract.AbstractFixtures):
    @pytest.fixture
    def fs(self, shared_fs):
        return shared_fs

    @pytest.fixture
    def fs_path(self, session):
        return f"{session}/base"

    @pytest.fixture
    def fs_join(self):
        return lambda *parts: "/".join(parts)

    @pytest.fixture
    def supports_empty_directories(self):
        return False


class TestCopy(abstract.AbstractCopyTests, Fixtures):
    pass


class TestGet(abstract.AbstractGetTests, Fixtures):
    pass


class TestPut(abstract.AbstractPutTests, Fixtures):
    pass


class TestPipe(abstract.AbstractPipeTests, Fixtures):
    pass


class TestOpen(abstract.AbstractOpenTests, Fixtures):
    pass


@pytest.fixture
def options(client):
    return {"endpoint": client.url, "key": client._headers["Authorization"].removeprefix("Bearer ")}


def test_a_failed_with_makes_no_artifact(shared_fs, session):
    with pytest.raises(RuntimeError), shared_fs.open(f"{session}/half", "wb") as file:
        file.write(b"half")
        raise RuntimeError("the program fails")
    assert not shared_fs.exists(f"{session}/half")


def test_modes_ranges_and_links(shared_fs, session):
    path = f"{session}/d/f"
    shared_fs.pipe(path, b"0123456789")
    with shared_fs.open(path, "ab") as file:
        file.write(b"ab")
    assert shared_fs.cat_file(path, -4) == b"89ab" and shared_fs.cat_file(path, 1, -9) == b"12"
    with shared_fs.open(path, "rb", block_size=4) as file:
        file.seek(5)
        assert file.read(3) == b"567"
    with pytest.raises(FileExistsError):
        shared_fs.open(path, "xb")
    assert shared_fs.ls(f"{session}/d", detail=False) == [path]
    assert shared_fs.sign(path).startswith("http")
    shared_fs.mv(path, f"{session}/d/g")
    assert shared_fs.find(session) == [f"{session}/d/g"]
    shared_fs.rm(f"{session}/d", recursive=True)
    assert not shared_fs.exists(f"{session}/d")


def test_pandas_and_pyarrow(options, session):
    pandas = pytest.importorskip("pandas")
    parquet = pytest.importorskip("pyarrow.parquet")
    frame = pandas.DataFrame({"n": range(1000), "s": [f"x{i}" for i in range(1000)]})
    url = f"outputfs://{session}/tables/frame"
    frame.to_parquet(f"{url}.parquet", storage_options=options)
    frame.to_csv(f"{url}.csv", index=False, storage_options=options)
    assert pandas.read_parquet(f"{url}.parquet", storage_options=options).equals(frame)
    assert pandas.read_csv(f"{url}.csv", storage_options=options).equals(frame)
    fs = fsspec.filesystem("outputfs", **options)
    assert parquet.read_table(f"{session}/tables/frame.parquet", filesystem=fs).num_rows == 1000
