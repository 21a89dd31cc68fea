"""`terminal-worker dead-letters`."""

import re
from typing import Annotated, NamedTuple

import orjson
import typer

from worker.cli import common, json_patch, reading, shown
from worker.cli.letters import Letter, NotReplayableError, replayed
from worker.cli.publishing import publish
from worker.domain.outcome import DeadLetterReason
from worker.kafka.producer import Message
from worker.settings import Settings

dead_letters = typer.Typer(no_args_is_help=True)

# A replay holds its requests in memory, each of up to the 1 MiB that brokers take, and is for a person to oversee.
_MOST = 100

_AT = re.compile(r"(\d{1,10}):(\d{1,18})", re.ASCII)
_SOURCE = re.compile(r"\d{1,10}(:\d{1,18})?", re.ASCII)


class At(NamedTuple):
    """Where a dead letter is on its own topic."""

    partition: int
    offset: int


def _at(text: str) -> At:
    if found := _AT.fullmatch(text):
        return At(int(found[1]), int(found[2]))
    raise typer.BadParameter(f"{text!r}: expected PARTITION:OFFSET, as `dead-letters list` shows it")


def _source(text: str) -> str:
    if _SOURCE.fullmatch(text):
        return text
    raise typer.BadParameter(f"{text!r}: expected PARTITION or PARTITION:OFFSET of the requests topic")


OfReason = Annotated[DeadLetterReason | None, typer.Option("--reason", help="Only those with this reason.")]
OfSource = Annotated[
    str | None,
    typer.Option(
        "--from", parser=_source, metavar="PARTITION[:OFFSET]", help="Only what came from there in the requests topic."
    ),
]


class _Filter(NamedTuple):
    reason: DeadLetterReason | None
    source: str | None
    since: int | None

    def wants(self, letter: Letter) -> bool:
        if self.reason is not None and letter.reason != self.reason.value:
            return False
        return self.source is None or self.source in (letter.source, letter.source.partition(":")[0])


@dead_letters.callback()
def _commands() -> None:
    """Records that the worker could not take.

    Each has its reason: `invalid_request` is no request that can be run,
    `message_id_reused` is another request under a known message ID.

    Examples:

        terminal-worker dead-letters list --since 24h

        terminal-worker dead-letters show 0:17

        terminal-worker dead-letters replay 0:17 --dry-run
    """


@dead_letters.command("list")
def list_(reason: OfReason = None, source: OfSource = None, since: shown.Since = None) -> None:
    """List the dead letters, with the reason and the origin of each.

    The first column is what `show` and `replay` take.

    Examples:

        terminal-worker dead-letters list --since 24h

        terminal-worker dead-letters list --reason invalid_request --from 3
    """
    settings = common.settings(api=False)
    rows = reading.run(settings, _rows(settings, _Filter(reason, source, since)))
    if not rows:
        typer.echo("no dead letters")
        return
    shown.table(("AT", "TIME", "REASON", "FROM", "MESSAGE"), rows)


@dead_letters.command()
def show(
    at: Annotated[At, typer.Argument(parser=_at, metavar="PARTITION:OFFSET", help="Where it is: see `list`.")],
) -> None:
    """Show one dead letter whole: its key, headers and value.

    It is the record as it came, unless it says that it was cut to fit.

    Examples:

        terminal-worker dead-letters show 0:17
    """
    settings = common.settings(api=False)
    (letter,) = reading.run(settings, _named(settings, [at]))
    record = letter.original
    came = f"{letter.source_topic} {letter.source}"
    shown.pairs(
        [
            *(("at", letter.at), ("time", letter.time), ("reason", letter.reason), ("message", letter.message)),
            *(("came from", came), ("replay's message ID", letter.replay_id)),
            ("key", "none" if record.key is None else record.key),
            *((f"header {shown.harmless(name)}", value or b"") for name, value in record.headers),
        ]
    )
    typer.echo()
    typer.echo(_value(record.value))


@dead_letters.command()
def replay(
    ats: Annotated[
        list[At] | None, typer.Argument(parser=_at, metavar="[PARTITION:OFFSET]...", help="These; see `list`.")
    ] = None,
    reason: OfReason = None,
    source: OfSource = None,
    since: shown.Since = None,
    edit: Annotated[
        str | None, typer.Option(metavar="JSON_PATCH", help="Changes to each value: RFC 6902, add, replace, remove.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be sent, and send nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Send dead letters to the requests topic again, as new requests.

    Each gets a new message ID, made of its place on the dead letters topic:
    replayed twice, it runs once. The old message ID becomes its correlation ID,
    and the header dead-letter-replayed-from names that place. What the worker
    would refuse again is not sent; mend it with --edit. Where one of several
    cannot be sent, none is.

    The value of a structured CloudEvent is the whole event: there, the members
    of a request are under /data.

    Examples:

        terminal-worker dead-letters replay 0:17 --dry-run

        terminal-worker dead-letters replay 0:17 \\
        --edit '[{"op": "replace", "path": "/operation", "value": "end_of_day"}]'

        terminal-worker dead-letters replay --reason message_id_reused --since 1h
    """
    if bool(ats) == any(each is not None for each in (reason, source, since)):
        raise typer.BadParameter("name the dead letters, or choose them by --reason, --from or --since")
    settings = common.settings(api=False)
    edits = _edits(edit)
    letters = reading.run(settings, _named(settings, ats) if ats else _chosen(settings, _Filter(reason, source, since)))
    messages = _messages(settings, letters, edits)
    for letter, message in zip(letters, messages, strict=True):
        typer.echo(f"{letter.at} as {letter.replay_id}: {shown.harmless(message.value or b'')}")
    if dry_run or not messages:
        typer.echo(f"{len(messages)} would be sent to {settings.kafka_requests_topic}")
        return
    if not yes:
        typer.confirm(f"Send {len(messages)} to {settings.kafka_requests_topic}?", abort=True)
    reading.run(settings, publish(settings, messages))
    typer.echo(f"{len(messages)} sent to {settings.kafka_requests_topic}")


async def _rows(settings: Settings, wanted: _Filter) -> list[tuple[str, ...]]:
    topic = settings.topics.dead_letters
    async with reading.opened(settings) as topics:
        return [
            (letter.at, letter.time, letter.reason, letter.source, letter.message)
            async for record in topics.scan(topic, since=wanted.since)
            if wanted.wants(letter := Letter.of(record))
        ]


async def _named(settings: Settings, ats: list[At]) -> list[Letter]:
    """Each once, in their order. Ends the command when one is not there."""
    topic = settings.topics.dead_letters
    letters = []
    async with reading.opened(settings) as topics:
        for partition, offset in dict.fromkeys(ats):
            record = await topics.at(topic, partition, offset)
            if record is None:
                common.fail(f"no dead letter at {partition}:{offset} of {topic!r}: see `dead-letters list`")
            letters.append(Letter.of(record))
    return letters


async def _chosen(settings: Settings, wanted: _Filter) -> list[Letter]:
    letters = []
    async with reading.opened(settings) as topics:
        async for record in topics.scan(settings.topics.dead_letters, since=wanted.since):
            letter = Letter.of(record)
            if wanted.wants(letter):
                letters.append(letter)
            if len(letters) > _MOST:
                common.fail(f"more than {_MOST} dead letters are chosen, and none was sent: narrow the choice")
    return letters


def _edits(text: str | None) -> json_patch.Patch:
    try:
        return json_patch.parse(text) if text else ()
    except json_patch.PatchError as error:
        raise typer.BadParameter(f"--edit: {error}") from None


def _messages(settings: Settings, letters: list[Letter], edits: json_patch.Patch) -> list[Message]:
    """What to send, or the end of the command with a line for each that cannot be sent."""
    header = settings.kafka_message_id_header
    reader = settings.reader
    messages, problems = [], []
    for letter in letters:
        try:
            messages.append(
                replayed(letter, reader, topic=settings.kafka_requests_topic, id_header=header, edits=edits)
            )
        except (NotReplayableError, json_patch.PatchError) as error:
            problems.append(f"{letter.at}: {error}")
    if problems:
        common.fail("\n".join([*problems, "nothing was sent"]))
    return messages


def _value(value: bytes | None) -> str:
    if value is None:
        return "no value"
    try:
        lines = orjson.dumps(orjson.loads(value), option=orjson.OPT_INDENT_2).decode().splitlines()
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        lines = value.decode(errors="backslashreplace").splitlines()
    return "\n".join(shown.harmless(line) for line in lines)
