"""Trino's files and configuration, without the server; tests/platform/test_dashboard.py asks the real one."""

from __future__ import annotations

import io
import tarfile

import pytest

from principal_kit import services
from principal_kit.core.errors import CorruptionError, InvalidArgument, MissingPrerequisite
from principal_kit.services import trino_release, trino_server, versions


def archive(path, members):
    with tarfile.open(path, "w:gz") as out:
        for name, content in members:
            entry = tarfile.TarInfo(f"trino-server-1/{name}")
            if isinstance(content, bytes):
                entry.size = len(content)
                out.addfile(entry, io.BytesIO(content))
            else:
                entry.type, entry.linkname = tarfile.LNKTYPE, f"trino-server-1/{content}"
                out.addfile(entry)
    return path


def test_only_the_server_and_the_iceberg_plugin_are_unpacked_links_as_files(tmp_path):
    made = archive(tmp_path / "a.tar.gz", [
        ("lib/main.jar", b"main"), ("plugin/delta/shared.jar", b"shared"), ("plugin/delta/own.jar", b"no"),
        ("plugin/iceberg/shared.jar", "plugin/delta/shared.jar"), ("plugin/iceberg/copy.jar", "lib/main.jar"),
        ("plugin/iceberg/iceberg.jar", b"ice"), ("plugin/iceberg/hdfs/hadoop.jar", b"no"), ("bin/launcher", b"no"),
        ("../outside/lib/evil.jar", b"no"),
    ])  # fmt: skip
    trino_release.unpack(made, tmp_path / "out")
    found = {str(p.relative_to(tmp_path / "out")): p.read_bytes() for p in (tmp_path / "out").rglob("*.jar")}
    assert found == {
        "lib/main.jar": b"main", "plugin/iceberg/shared.jar": b"shared", "plugin/iceberg/copy.jar": b"main",
        "plugin/iceberg/iceberg.jar": b"ice",
    }  # fmt: skip


def test_without_the_server_the_command_that_fetches_it_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PRINCIPAL_KIT_CACHE", str(tmp_path))
    monkeypatch.delenv("PRINCIPAL_KIT_TRINO", raising=False)
    with pytest.raises(MissingPrerequisite, match=r"run `python -m principal_kit\.services\.trino_release`"):
        services.trino("postgresql://kit@127.0.0.1:1/shop", "file:///lake")


def test_another_archive_than_the_known_one_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("PRINCIPAL_KIT_CACHE", str(tmp_path))

    def maven(command, what, *, seconds):
        (folder,) = (part.removeprefix("-DoutputDirectory=") for part in command if "outputDirectory" in part)
        archive(f"{folder}/{trino_release.ARCHIVE}", [("lib/main.jar", b"another")])

    monkeypatch.setattr(trino_release.process, "fetch", maven)
    monkeypatch.setattr(trino_release.shutil, "which", lambda name: f"/usr/bin/{name}")
    with pytest.raises(CorruptionError, match="SHA-256 differs; nothing was kept"):
        trino_release.fetch()
    assert list(tmp_path.iterdir()) == []


def test_a_java_that_is_new_enough_is_taken_from_the_machine(monkeypatch):
    monkeypatch.setattr(trino_release.java, "find", lambda: ("/opt/java", trino_release.JAVA))
    assert trino_release.java_binary() == "/opt/java"


def test_the_catalog_is_the_one_that_the_jobs_write():
    found = trino_server.catalog_properties("postgresql://kit:a%3Ab@127.0.0.1:5433/shop", "file:///lake/tables")
    assert found["iceberg.jdbc-catalog.connection-url"] == "jdbc:postgresql://127.0.0.1:5433/shop"
    assert found["iceberg.jdbc-catalog.connection-password"] == "a:b"
    assert found["iceberg.jdbc-catalog.catalog-name"] == "lake"
    with pytest.raises(InvalidArgument, match="begins with 'sqlite'"):
        trino_server.catalog_properties("sqlite:///x.db", "file:///lake")
    with pytest.raises(InvalidArgument, match="expected file:///"):
        trino_server.catalog_properties("postgresql://kit@127.0.0.1:5433/shop", "s3://lake")


def test_only_releases_of_trino_s_own_numbering_are_known():
    assert versions.check_version("trino", "476") == "476"
    with pytest.raises(InvalidArgument, match="known: 4"):
        versions.check_version("trino", "0.215")
