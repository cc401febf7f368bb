"""One statement of versions, and everything else that names one agrees with it."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from principal_kit.core.errors import InvalidArgument
from principal_kit.services import jars, versions

POM = ElementTree.parse(Path(__file__).parents[2] / "pom.xml").getroot()
XMLNS = {"m": "http://maven.apache.org/POM/4.0.0"}


def test_the_pom_names_the_same_versions():
    properties = POM.find("m:properties", XMLNS)
    assert properties.find("m:kafka.version", XMLNS).text == versions.WANTED["kafka"]
    assert properties.find("m:spark.version", XMLNS).text == versions.WANTED["spark"]
    assert properties.find("m:flink.version", XMLNS).text == versions.WANTED["flink"]
    assert properties.find("m:debezium.version", XMLNS).text == versions.WANTED["debezium"]
    assert versions.WANTED["connect"] == versions.WANTED["kafka"], "one line of jars on one class path"
    assert versions.WANTED["flink"].startswith(properties.find("m:flink.line", XMLNS).text + ".")


def test_the_pom_has_a_profile_for_every_set_of_jars():
    profiles = {p.find("m:id", XMLNS).text for p in POM.iterfind("m:profiles/m:profile", XMLNS)}
    assert jars.SETS.keys() <= profiles


def test_every_set_of_jars_is_in_the_manifest():
    for name in jars.SETS:
        listed = jars.manifest(name)
        assert any(versions.WANTED[name.removesuffix("-kafka")] in jar for jar in listed)
        assert all(re.fullmatch(r"[\w.+-]+\.jar", jar) for jar in listed)
        assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in listed.values())


def test_the_pom_names_no_repository():
    """Whichever repository Maven is set up for; the checksums make it harmless."""
    assert POM.find("m:repositories", XMLNS) is None
    assert POM.find("m:pluginRepositories", XMLNS) is None


@pytest.mark.parametrize(
    "service, version", [("kafka", "4.0"), ("kafka", "4.3"), ("redis", "8.2.1"), ("spark", "4.1.1")]
)
def test_known_versions(service, version):
    assert versions.check_version(service, version) == version


@pytest.mark.parametrize(
    "service, version", [("kafka", "3.x"), ("redis", "6.2.1"), ("redis", "?"), ("spark", "3.5.1"), ("spark", "")]
)
def test_unknown_versions_list_the_known(service, version):
    with pytest.raises(InvalidArgument, match=r"unknown to this book; known: \d\."):
        versions.check_version(service, version)


def test_an_unknown_service_lists_the_known():
    with pytest.raises(InvalidArgument, match=r"known: connect, flink, kafka, (\w+, )*redis, spark"):
        versions.check_embedded("storm", "2.0")
