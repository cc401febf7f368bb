"""The job files: what they have in common is the same in all, and what they say of the contract is what it says."""

from __future__ import annotations

import dataclasses
import re

import pytest

from principal_kit.core.errors import InvalidArgument
from principal_kit.platform import contract, jobs

SETTINGS = jobs.Settings(bootstrap="kafka:9092", dsn="postgresql://u:p@db:5432/lake", warehouse="file:///lake")
RAW = re.compile(r"CREATE TEMPORARY TABLE (\w+)_raw \((.*?)\n\) WITH \((.*?)\);", re.S)
LETTERS = re.compile(r"INSERT INTO dead_letters.*?;", re.S)


def head(name):
    """A job's source table: its name, its columns, without comments, and its options."""
    table, columns, options = RAW.search(jobs.source(name)).groups()
    return table, re.sub(r"\s*--[^\n]*", "", columns), options


@pytest.mark.parametrize("name", jobs.NAMES)
def test_a_job_reads_the_fields_of_its_contract_and_no_others(name):
    _, columns, _ = head(name)
    read = dict(re.findall(r"(\w+) (STRING|BIGINT)(?=,)", columns))
    versions = contract.CONTRACTS[f"shop.{jobs.READS[name]}"].versions
    wanted = {"type": "STRING", "version": "STRING"}
    for field in (field for kinds in versions.values() for fields in kinds.values() for field in fields):
        wanted[field.name] = {"text": "STRING", "integer": "BIGINT"}[field.kind]
    assert read == wanted


def test_the_heads_agree():
    def common(name):
        table, columns, options = head(name)
        rest = re.sub(r"\n  type STRING.*?(?=\n  `key`)", "", columns, flags=re.S)
        letters = LETTERS.search(jobs.source(name))[0].replace(f"{table}_checked", "…_checked")
        return rest, options.replace(jobs.READS[name], "…"), letters

    assert len({common(name) for name in jobs.NAMES}) == 1


@pytest.mark.parametrize("name", jobs.NAMES)
def test_a_job_lists_the_types_and_versions_of_its_contract(name):
    about, text = contract.CONTRACTS[f"shop.{jobs.READS[name]}"], jobs.source(name)
    listed = [set(re.findall(r"'([^']*)'", text)) for text in re.findall(r"NOT IN \(([^)]*)\)", text)]
    assert listed == [set(about.types), {str(version) for version in about.versions}]


@pytest.mark.parametrize("name", jobs.NAMES)
def test_every_placeholder_has_a_value(name):
    assert "${" not in jobs.script(name, SETTINGS)


def test_a_checkpoint_interval_of_its_own_is_set_before_the_job_and_else_the_cluster_s_holds():
    own = "SET 'execution.checkpointing.interval' = '500 ms';\n"
    often = dataclasses.replace(SETTINGS, checkpoint_ms=500)
    for name in jobs.NAMES:
        assert jobs.script(name, often) == own + jobs.script(name, SETTINGS)
    assert own not in jobs.script("fraud", SETTINGS)
    with pytest.raises(InvalidArgument, match="checkpoint_ms is 9"):
        jobs.script("fraud", dataclasses.replace(SETTINGS, checkpoint_ms=9))


def test_an_unknown_job():
    with pytest.raises(InvalidArgument, match="known: sessions"):
        jobs.source("refunds")
