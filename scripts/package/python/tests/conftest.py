"""A real server of a state directory of its own, for the whole run."""

import os
import shutil
import uuid

import pytest

import outputfs
from outputfs.fs import OutputFileSystem


@pytest.fixture(scope="session", autouse=True)
def clean_environment():
    for name in list(os.environ):
        if name.startswith(("OUTPUTFS_", "ARTIFACTA_")) and name != "OUTPUTFS_TEST_RUN":
            del os.environ[name]
    assert shutil.which("outputfs"), "outputfs is not on the PATH"


@pytest.fixture(scope="session")
def client(tmp_path_factory, clean_environment):
    with outputfs.Client(state_dir=tmp_path_factory.mktemp("state"), session="run_1", agent="tester") as made:
        yield made


@pytest.fixture
def session():
    return f"s{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def shared_fs(client):
    key = client._headers["Authorization"].removeprefix("Bearer ")
    return OutputFileSystem(endpoint=client.url, key=key)
