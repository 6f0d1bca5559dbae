"""`edupulse keys`: the key that what lies on the disk is encrypted with - made, replaced, checked, put to use."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from edupulse_pipelines.cli.answers import answer, print_json
from edupulse_pipelines.cli.database import works_in
from edupulse_pipelines.cli.home import settings_of
from edupulse_pipelines.cli.options import command, json_option, tenant_option
from edupulse_pipelines.errors import ConfigurationError, KeyUnusable, PermanentError
from edupulse_pipelines.settings import ENCRYPTION_KEY

_OFF = f"Nothing is encrypted: no key is set ([encryption] key_file, or {ENCRYPTION_KEY})."


@click.group()
def keys() -> None:
    """The key that what lies on the disk is encrypted with.

    \b
    First:             name a file in edupulse.toml ([encryption] key_file), then edupulse keys new
    What is there:     edupulse keys check, edupulse keys apply
    Another key:       edupulse keys rotate
    A file in plain:   edupulse keys open FILE --output PLAIN

    `docs/privacy.md` says what is encrypted, and what is not.
    """


@keys.command("new")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write.  [default: that of [encryption] key_file]",
)
@json_option
@command
def keys_new(output: Path | None, as_json: bool, home: Path | None) -> None:
    """Make the operator's key, an age identity, in a file that only you can read. It replaces none.

    Keep a copy where neither this machine nor its backups are: without it nothing that is encrypted can be read again.
    """
    from edupulse_pipelines.encryption.keyring import key_ring
    from edupulse_pipelines.encryption.operators_key import new_identity

    path, public = new_identity(key_ring(settings_of(home)), output)
    sentence = (
        f"Wrote {path} (public key {public}).\nKeep a copy away from this machine and its backups: without it nothing "
        "that is encrypted can be read again."
    )
    answer(sentence, {"key_file": str(path), "public_key": public}, as_json)


@keys.command("rotate")
@click.option(
    "--to",
    "target",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file for the new key, which you then name in the settings.  [default: that of [encryption] key_file]",
)
@json_option
@command
def keys_rotate(target: Path | None, as_json: bool, home: Path | None) -> None:
    """Replace the operator's key: the small files in <home>/keys and beside its backups are written again, no more.

    The old key goes to `<key_file>.retired`: copies of backups that lie elsewhere need it, and who has stolen it opens
    those alone. Said again after it was stopped, it finishes.
    """
    from edupulse_pipelines.encryption.keyring import key_ring
    from edupulse_pipelines.encryption.operators_key import rotate

    settings = settings_of(home)
    done = rotate(key_ring(settings), target.absolute() if target else None)
    sentence = f"Wrote {done.data_keys:,} data keys again, for {done.key_file} (public key {done.public_key})."
    if done.retired is not None:
        sentence += f"\nThe old key is in {done.retired}: put it away with the backups of before."
    else:
        sentence += f"\nNow name {done.key_file} in [encryption] key_file, or set {ENCRYPTION_KEY} to what it holds."
    facts = {
        "data_keys": done.data_keys,
        "public_key": done.public_key,
        "key_file": str(done.key_file),
        "retired": str(done.retired) if done.retired else None,
    }
    answer(sentence, facts, as_json)


@keys.command("check")
@click.option("--thorough", is_flag=True, help="Read every encrypted archive to its end.")
@json_option
@command
def keys_check(thorough: bool, as_json: bool, home: Path | None) -> None:
    """Count what lies encrypted and plain, and try every key and file. Exit 1 when one does not open."""
    from edupulse_pipelines.encryption.keyring import HOME_KEY, use_keys
    from edupulse_pipelines.encryption.operators_key import public_keys
    from edupulse_pipelines.governance.at_rest import at_rest, districts_at_rest

    settings = settings_of(home)
    ring = use_keys(settings)
    troubles, public = [], []
    if ring.is_on:
        try:
            public = public_keys(ring.identities())
        except KeyUnusable as error:
            troubles.append(str(error))
    names = [*districts_at_rest(ring, settings.raw_dir), *([HOME_KEY] if HOME_KEY in ring.names() else [])]
    found = [at_rest(ring, settings.raw_dir, name, thorough=thorough) for name in names]
    for one in found:
        troubles += [trouble for trouble in one.troubles if trouble not in troubles]
    if as_json:
        counts = {one.name: {"encrypted": one.encrypted, "plain": one.plain} for one in found if one.name != HOME_KEY}
        facts = {"on": ring.is_on, "key": ring.source, "public_keys": public}
        print_json({**facts, "files": counts, "troubles": troubles})
    else:
        if public or not ring.is_on:
            click.echo(f"The key is from {ring.source} (public key {', '.join(public)})." if ring.is_on else _OFF)
        for one in found:
            if one.name != HOME_KEY:
                click.echo(f"{one.name}: {one.encrypted:,} files encrypted, {one.plain:,} plain")
        if ring.is_on and any(one.plain for one in found):
            click.echo("`edupulse keys apply` encrypts what lies plain.")
        for trouble in troubles:
            click.echo(trouble)
    sys.exit(1 if troubles else 0)


@keys.command("apply")
@tenant_option("all")
@json_option
@command
def keys_apply(tenant_name: str | None, as_json: bool, home: Path | None) -> None:
    """Encrypt what lies plain in the raw archive (archives, refused files, kept bundles), and in backups.

    It may be stopped at any moment, and goes on when it is said again. Loads may run meanwhile.
    """
    from edupulse_pipelines.cli.output.drawing import console
    from edupulse_pipelines.cli.output.steps import ConsoleProgress
    from edupulse_pipelines.encryption.keyring import key_ring
    from edupulse_pipelines.governance.at_rest import encrypt_all
    from edupulse_pipelines.operations.backup.taking import encrypt_backups

    settings = settings_of(home)
    if not key_ring(settings).is_on:
        raise ConfigurationError(_OFF)
    names = [settings.tenant(tenant_name).name] if tenant_name else sorted(settings.tenants)
    counts = {}
    with works_in(settings) as works, ConsoleProgress(console(to_stderr=as_json)) as progress:
        for name in names:
            progress.begin(f"encrypt {name}")
            counts[name] = encrypt_all(works(name), settings.raw_dir, progress.advanced)
        progress.begin("encrypt backups")
        backups = 0 if tenant_name else encrypt_backups(settings)
    said = [
        f"{name}: {done['archives']:,} archives and {done['kept files']:,} kept files encrypted"
        for name, done in counts.items()
    ]
    facts = {name: {"archives": done["archives"], "kept_files": done["kept files"]} for name, done in counts.items()}
    if backups:
        said.append(f"Backups: {backups:,} files encrypted")
    answer("\n".join(said), {"encrypted": facts, "backups": backups}, as_json)


@keys.command("open")
@click.argument("file", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="The file to write, or the folder where FILE is one; it must not be there.",
)
@json_option
@command
def keys_open(file: Path, output: Path, as_json: bool, home: Path | None) -> None:
    """Write what an encrypted FILE holds in plain, for you alone: a refused file, a bundle, an export (a folder).

    Remove it when it is no longer needed. Not for archives (Parquet): what they hold is shown by other commands.
    """
    from edupulse_pipelines.encryption.files import decrypt_file, is_encrypted_file
    from edupulse_pipelines.encryption.keyring import key_ring

    ring = key_ring(settings_of(home))
    if output.exists():
        raise PermanentError(f"{output} is there already: name another place.")
    files = sorted(path for path in file.rglob("*") if path.is_file()) if file.is_dir() else [file]
    encrypted = [path for path in files if is_encrypted_file(path)]
    if not encrypted:
        raise PermanentError(f"{file} holds nothing that is encrypted by age.")
    for path in encrypted:
        inside = path.relative_to(file) if file.is_dir() else None
        target = output if inside is None else output / inside.with_name(inside.name.removesuffix(".age"))
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        decrypt_file(path, target, ring)
    answer(
        f"Wrote {len(encrypted):,} files to {output}. Remove them when they are no longer needed.",
        {"files": len(encrypted), "output": str(output)},
        as_json,
    )
