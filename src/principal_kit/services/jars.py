"""The jar cache: what `pom.xml` names, fetched once by Maven, checked by SHA-256 every time it is used.

`jars.sha256` in this package lists every file of every set. A set is copied into a temporary folder, checked, then
renamed into place, so that an interrupted download is never taken for a whole one.

    python -m principal_kit.services.jars fetch     # into the per-user cache; offline the second time
    python -m principal_kit.services.jars lock      # for maintainers: rewrite jars.sha256 after a change of pom.xml
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import click
from platformdirs import user_cache_dir

from principal_kit.core.errors import CorruptionError, InvalidArgument, KitError, MissingPrerequisite, ServiceError
from principal_kit.services import flink_release
from principal_kit.services.versions import WANTED

SETS = {"kafka": WANTED["kafka"], "spark-kafka": WANTED["spark"], "ecj": WANTED["ecj"], "flink": WANTED["flink"],
        "connect": WANTED["debezium"]}  # fmt: skip
NEEDS = {"flink": ("ecj",)}
"""Which other sets come with a set: Flink's jobs use a format that is compiled here (see `flink_format`)."""
PUBLISHED = ("kafka", "spark-kafka")
"""What all chapters but one need: 400 MB of Flink, and 40 of Kafka Connect, are for chapter 2.1."""
MANIFEST = Path(__file__).with_name("jars.sha256")
MEND = "python -m principal_kit.services.jars fetch"
_FETCH_SECONDS = 900


def cache_directory() -> Path:
    """The per-user cache: PRINCIPAL_KIT_CACHE, or the platform's own place for caches."""
    return Path(os.environ.get("PRINCIPAL_KIT_CACHE") or user_cache_dir("principal-kit")).expanduser().absolute()


def directory(name: str) -> Path:
    """Where the jar set `name` is kept. Raises InvalidArgument on an unknown set."""
    if name not in SETS:
        raise InvalidArgument(f"jar set {name!r} is unknown; known: {', '.join(SETS)}")
    return cache_directory() / "jars" / f"{name}-{SETS[name]}"


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def manifest(name: str) -> dict[str, str]:
    """File name to SHA-256 for one set, as committed."""
    prefix = f"{name}-{SETS[name]}/"
    rows = (
        line.split() for line in MANIFEST.read_text(encoding="ascii").splitlines() if line and not line.startswith("#")
    )
    return {path.removeprefix(prefix): digest for digest, path in rows if path.startswith(prefix)}


def problems(name: str, folder: Path) -> list[str]:
    """What differs between a folder and the manifest: missing, corrupt, foreign files. Reads every byte."""
    wanted = manifest(name)
    if not wanted:
        return [f"{MANIFEST.name} lists no file of {name}-{SETS[name]}"]
    found = {p.name for p in folder.glob("*.jar")} if folder.is_dir() else set()
    return (
        [f"{jar} is missing" for jar in sorted(wanted.keys() - found)]
        + [f"{jar} does not belong there" for jar in sorted(found - wanted.keys())]
        + [f"{jar} fails its checksum" for jar in sorted(wanted.keys() & found) if not _is(folder / jar, wanted[jar])]
    )


def _is(file: Path, digest: str) -> bool:
    """Whether the file has that checksum; one that another fetch has just moved away has not."""
    try:
        return sha256(file) == digest
    except FileNotFoundError:
        return False


def verified(name: str) -> Path:
    """The folder of a jar set, every file checked.

    Raises MissingPrerequisite when it was never fetched, CorruptionError naming the file when one is damaged or
    missing.
    """
    folder = directory(name)
    if not folder.is_dir():
        raise MissingPrerequisite(f"the {name} {SETS[name]} jars are not in the cache: run `{MEND} {name}`")
    wrong = problems(name, folder)
    if wrong:
        raise CorruptionError(
            f"the cached {name} jars cannot be used: {wrong[0]} (of {len(wrong)} problems). `{MEND} {name}` mends it"
        )
    return folder


def find_pom() -> Path:
    """Our `pom.xml`, in the checkout this package is installed from. Raises MissingPrerequisite outside a checkout."""
    for folder in (Path.cwd(), *Path(__file__).resolve().parents):
        if (folder / "pom.xml").is_file() and (folder / "src" / "principal_kit").is_dir():
            return folder / "pom.xml"
    raise MissingPrerequisite("pom.xml not found: run this from a checkout of the book")


def _maven(name: str, target: Path) -> None:
    """Let Maven resolve one profile of the POM into `target`."""
    mvn = shutil.which("mvn")
    if not mvn:
        raise MissingPrerequisite(
            "Maven is missing: `sudo apt-get install maven` (Debian, Ubuntu), `brew install maven` (macOS)"
        )
    options = ["-B", "-q", "-f", str(find_pom()), "-P", name, "-DincludeScope=runtime", f"-DoutputDirectory={target}"]
    command = [mvn, *options, "dependency:copy-dependencies"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_FETCH_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise ServiceError(
            f"Maven did not finish the {name} jars in {_FETCH_SECONDS} s; run the command again to go on"
        ) from error
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-8:])
        raise ServiceError(f"Maven could not fetch the {name} jars. Its last lines:\n{tail}")


def _copy_set(name: str) -> Path:
    """Fetch one set into a temporary folder beside its final place; the caller renames or removes it."""
    root = directory(name).parent
    root.mkdir(parents=True, exist_ok=True)
    target = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=root))
    try:
        _maven(name, target)
        if name == "flink":
            flink_release.copy_jars(target)
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise
    return target


def fetch(name: str) -> bool:
    """Bring one set into the cache; False if it was there and whole.

    Atomic: two fetches at once each build their own folder and the first rename wins. Raises ServiceError when Maven
    fails, CorruptionError when what it brought is not what the manifest lists (nothing is kept then).
    """
    final = directory(name)
    if final.is_dir() and not problems(name, final):
        return False
    target = _copy_set(name)
    wrong = problems(name, target)
    if wrong:
        shutil.rmtree(target, ignore_errors=True)
        raise CorruptionError(
            f"what Maven fetched for {name} is not what {MANIFEST.name} lists: {wrong[0]}; nothing was kept. "
            "A damaged local Maven repository is the usual cause: remove that file from it and run again"
        )
    stale = Path(tempfile.mkdtemp(prefix=".stale-", dir=final.parent))
    try:
        if final.is_dir() and problems(name, final):  # a whole one has come meanwhile: it stays, others may be reading
            os.rename(final, stale / "old")
        os.rename(target, final)
    except OSError:  # the other fetch won the race
        shutil.rmtree(target, ignore_errors=True)
        if problems(name, final):
            raise
    finally:
        shutil.rmtree(stale, ignore_errors=True)
    return True


@click.group(help=__doc__.splitlines()[0])
def main() -> None:
    """Command line of the cache."""


@main.command("fetch")
@click.argument("names", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Flink's and Connect's as well, which chapter 2.1 needs.")
def fetch_command(names: tuple[str, ...], every: bool) -> None:
    """Fetch the named sets into the cache (default: what all chapters but 2.1 need) and make their class archives."""
    from principal_kit.services import class_archive

    names = tuple(SETS) if every else names or PUBLISHED
    _fetch_all(tuple(dict.fromkeys(n for name in names for n in (*NEEDS.get(name, ()), name))))
    kinds = (name.removesuffix("-kafka") for name in names)
    _archive_all(tuple(kind for kind in kinds if kind in class_archive.KINDS))


def _fetch_all(names: tuple[str, ...]) -> None:
    for name in names:
        click.echo(f"  {name} {SETS[name]} jars … ", nl=False)
        begun = time.monotonic()
        try:
            fetched = fetch(name)
        except KitError as error:
            click.echo("failed")
            raise click.ClickException(str(error)) from error
        click.echo(f"fetched and verified in {time.monotonic() - begun:.0f} s" if fetched else "in the cache, verified")


@main.command("archive")
@click.argument("kinds", nargs=-1)
def archive_command(kinds: tuple[str, ...]) -> None:
    """Start Kafka, Spark, Flink, Connect (default: all) once and keep the classes they load: starts are faster."""
    from principal_kit.services import class_archive

    _archive_all(kinds or class_archive.KINDS)


def _archive_all(kinds: tuple[str, ...]) -> None:
    from principal_kit.services import class_archive

    for kind in kinds:
        click.echo(f"  {kind} class archive … ", nl=False)
        begun = time.monotonic()
        try:
            made = class_archive.make(kind)
        except (KitError, ImportError) as error:  # a cache: without it starts are slower, nothing else
            click.echo(f"left out ({str(error).splitlines()[0]})")
        else:
            click.echo(f"made in {time.monotonic() - begun:.0f} s" if made else "in the cache")


@main.command("lock")
def lock_command() -> None:
    """Rewrite jars.sha256 from what Maven resolves now."""
    lines = ["# SHA-256 of every jar the kit starts; written by `python -m principal_kit.services.jars lock`."]
    for name, version in SETS.items():
        folder = _copy_set(name)
        lines += [f"{sha256(jar)}  {name}-{version}/{jar.name}" for jar in sorted(folder.glob("*.jar"))]
        shutil.rmtree(folder)
    MANIFEST.write_text("\n".join(lines) + "\n", encoding="ascii")
    click.echo(f"{MANIFEST.name}: {len(lines) - 1} files")


if __name__ == "__main__":
    main()
