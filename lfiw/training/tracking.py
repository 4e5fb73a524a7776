"""Where a run's numbers and pictures go: always metrics.jsonl, and Weights & Biases or a CSV file on request."""

import contextlib
import csv
import io
import json
import math
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Any

from pytorch_lightning.loggers import Logger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from lfiw.errors import first_line
from lfiw.files import replacing, write_atomically, write_errors
from lfiw.training.private import drop_anonymous

WANDB_ID = "wandb_id.txt"
CONNECT_SECONDS = 20.0  # without an answer from W&B for this long, a run is logged offline
ASK_SECONDS = 5  # wait for an answer from W&B during a run
FINISH_SECONDS = 60.0  # wait at the end of a run for W&B to take the rest, which also stays on disk


class RunFile(Logger):
    """A logger that appends to one file in a run's folder.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    @property
    def name(self) -> str:
        return self.path.suffix.removeprefix(".")

    @property
    def version(self) -> str:
        return self.path.parent.name

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Writes nothing: the configuration is in config.yaml beside this file."""


class JsonLines(RunFile):
    """One JSON object per line: step, and the metrics logged at that step. NaN and infinity become null.

    Args:
        path: of the file.
        resumed: the run continues an earlier one; a training that starts anew removes its own earlier lines.
    """

    def __init__(self, path: Path, *, resumed: bool = False) -> None:
        super().__init__(path)
        self.resumed = resumed

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        values = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        with write_errors(self.path), open(self.path, "a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")

    def position(self) -> int:
        """Returns the number of bytes written."""
        return self.path.stat().st_size if self.path.exists() else 0

    def rewind(self, position: int | None, prefix: str) -> None:
        """Removes the lines after a position that this training, or the run after it, will log again.

        Args:
            position: the file's length when the checkpoint to resume from was written. If None, the training starts
                anew.
            prefix: that of this training's metrics; complete lines of others stay.
        """
        if not self.path.exists() or (position is None and not self.resumed):
            return
        with write_errors(self.path):
            content = self.path.read_bytes()
        later = content[position or 0 :].splitlines(keepends=True)
        kept = content[: position or 0] + b"".join(line for line in later if is_of_another(line, prefix))
        if kept != content:
            write_atomically(self.path, kept)


class Prefixed(Logger):
    """Passes metrics to another logger under a prefix, for one of several trainings; the run finalises that logger."""

    def __init__(self, logger: Logger, prefix: str) -> None:
        super().__init__()
        self.logger, self.prefix = logger, prefix

    @property
    def name(self) -> str | None:
        return self.logger.name

    @property
    def version(self) -> int | str | None:
        return self.logger.version

    @property
    def save_dir(self) -> str | None:
        return self.logger.save_dir

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.logger.log_metrics({f"{self.prefix}{name}": value for name, value in metrics.items()}, step)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Passes nothing on: the run's own logger has them."""

    def save(self) -> None:
        self.logger.save()


def is_of_another(line: bytes, prefix: str) -> bool:
    """Whether a line of metrics.jsonl is complete and belongs to a training with another prefix."""
    try:
        names = json.loads(line)
    except ValueError:
        return False
    return any(name.endswith("/epoch") and name != f"{prefix}epoch" for name in names)


def find_json_lines(loggers: Sequence[Logger]) -> tuple[JsonLines, str] | None:
    """Returns the logger that writes metrics.jsonl and the prefix of what it receives."""
    for logger in loggers:
        inner, prefix = (logger.logger, logger.prefix) if isinstance(logger, Prefixed) else (logger, "")
        if isinstance(inner, JsonLines):
            return inner, prefix
    return None


class CsvRows(RunFile):
    """Appends one row per logged step, after those of a run that is resumed or evaluated again.

    Lightning's `CSVLogger` deletes earlier rows, and loses them if it is killed while adding a column.
    """

    _columns: Sequence[str] = ()

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        row = {"step": step, **metrics}
        if not row.keys() <= set(self._columns):
            self._add_columns(row)
        with write_errors(self.path), open(self.path, "a", newline="") as file:
            csv.DictWriter(file, self._columns).writerow(row)

    def _add_columns(self, names: Iterable[str]) -> None:
        """Rewrites the file with more columns, dropping a row that a kill truncated."""
        content = self.path.read_bytes() if self.path.is_file() else b""
        whole = content[: content.rfind(b"\n") + 1].decode(errors="replace")
        reader = csv.DictReader(io.StringIO(whole, newline=""))
        self._columns = sorted({*(reader.fieldnames or ()), *names})
        with replacing(self.path) as temporary, open(temporary, "w", newline="") as file:
            writer = csv.DictWriter(file, self._columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(reader)


class SteadyWandbLogger(WandbLogger):
    """W&B's logger, except that its failures do not end a run.

    What needs an answer from the server, such as a table, is skipped if none comes; wandb stores on disk what it cannot
    send. If wandb itself fails, that is printed once, and nothing more is sent.
    """

    def __init__(self, *, offline: bool = False, **options: Any) -> None:
        super().__init__(offline=offline, **options)
        drop_anonymous(self)
        self.offline, self.lost, self._begun = offline, False, False
        # offline, wandb does not know the last step of an earlier part of the run
        self._next_step = Path(options["save_dir"]) / "wandb" / "next_step.txt"

    @property
    def experiment(self) -> Any:
        run = super().experiment
        if not self._begun:
            self._begun = True
            with contextlib.suppress(OSError, ValueError):
                if self.offline and (step := int(self._next_step.read_text())):
                    run.log({}, step=step, commit=False)
        return run

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        self.steadily(lambda: super(SteadyWandbLogger, self).log_metrics(metrics, step))

    def log_hyperparams(self, params: dict[str, Any] | Namespace) -> None:
        self.steadily(lambda: super(SteadyWandbLogger, self).log_hyperparams(params))

    def finalize(self, status: str) -> None:
        self.steadily(lambda: super(SteadyWandbLogger, self).finalize(status))

    def steadily(self, call: Callable[[], object]) -> None:
        """Makes a call to W&B, unless one has failed before."""
        if self.lost:
            return
        try:
            call()
            if self._begun and getattr(rank_zero_only, "rank", 0) == 0:
                self._next_step.write_text(f"{self.experiment.step}\n")
        except Exception as error:  # wandb, its own process and the network raise a dozen kinds
            from wandb.errors import Error

            if isinstance(error, Error):
                print(f"W&B did not take everything ({first_line(error)})", file=sys.stderr)
                return
            self.lost = True
            print(f"W&B failed ({first_line(error)}): the run continues without it", file=sys.stderr)


def build_loggers(
    name: str,
    run_dir: Path,
    config: Mapping[str, Any],
    *,
    project: str = "lfiw",
    entity: str | None = None,
    mode: str = "auto",
    log_checkpoint: bool = False,
    resumed: bool = False,
) -> list[Logger]:
    """Creates the loggers of a run.

    The W&B run id is saved in the run folder: a resumed run and a later evaluation continue the same W&B run.

    Args:
        name: wandb, csv or none; metrics.jsonl is written in any case.
        config: the whole configuration, for W&B.
        mode: W&B's: online, offline, or auto, which is online if WANDB_API_KEY is set and offline otherwise.
        log_checkpoint: upload the best checkpoint as a W&B artifact at the end (online only).
        resumed: the run resumes one that stopped.
    """
    loggers: list[Logger] = [JsonLines(run_dir / "metrics.jsonl", resumed=resumed)]
    if name == "csv":
        loggers.append(CsvRows(run_dir / "csv/metrics.csv"))
    if name == "wandb":
        if mode == "auto":
            mode = "online" if os.environ.get("WANDB_API_KEY") else "offline"
        os.environ.setdefault("WANDB_SILENT", "true")  # its banner would appear between the tables
        # for each table it makes an optional request to the server, which takes 19 s in an outage
        os.environ.setdefault("WANDB_HTTP_TIMEOUT", str(ASK_SECONDS))
        options = {"project": project, "entity": entity, "save_dir": run_dir, "config": dict(config)}
        options |= {"name": f"{run_dir.parent.name}/{run_dir.name}", "id": wandb_id(run_dir)}
        online = _connect(options, log_checkpoint) if mode == "online" else None
        loggers.append(online or SteadyWandbLogger(offline=True, **options))
    return loggers


def _connect(options: Mapping[str, Any], log_checkpoint: bool) -> SteadyWandbLogger | None:
    """Returns an online logger, or None if W&B does not answer or has no key: tracking must not end a run."""
    import wandb

    settings = wandb.Settings(init_timeout=CONNECT_SECONDS, finish_timeout=FINISH_SECONDS, finish_timeout_raises=True)
    logger = SteadyWandbLogger(log_model=log_checkpoint, settings=settings, **options)
    try:
        _ = logger.experiment  # connects
    except wandb.errors.Error as error:
        wandb.teardown(exit_code=1)  # it would keep the run's id occupied
        print(f"W&B is not available, this run is kept offline ({first_line(error)})", file=sys.stderr)
        return None
    return logger


def finish(loggers: Sequence[Logger], *, failed: bool = False) -> None:
    """Ends logging: flushes buffers, so that the next run of this process is another one at W&B.

    If W&B no longer answers, this waits for at most a minute and does not fail.
    """
    for logger in loggers:
        logger.finalize("failed" if failed else "finished")
        if isinstance(logger, SteadyWandbLogger):
            _finish_wandb(logger, failed)


def _finish_wandb(logger: SteadyWandbLogger, failed: bool) -> None:
    import wandb

    folder = wandb.run.settings.sync_dir if wandb.run else None
    try:
        wandb.finish(exit_code=int(failed))
        if logger.offline:
            # wandb's process may still be writing the run when `finish` returns
            wandb.teardown(exit_code=int(failed))
    except Exception as error:
        if logger.lost:
            return
        what = "does not answer" if isinstance(error, TimeoutError) else f"failed ({first_line(error)})"
        where = f": send what is missing later by wandb sync {os.path.relpath(folder)}" if folder else ""
        print(f"W&B {what}, the run is whole without it{where}", file=sys.stderr)


def wandb_id(run_dir: Path) -> str:
    """Returns the run's id at W&B, chosen once and saved in the run folder."""
    file = run_dir / WANDB_ID
    if not file.is_file():
        if getattr(rank_zero_only, "rank", 0) != 0:
            return "other-rank"  # only the first process talks to W&B
        write_atomically(file, token_hex(4) + "\n")
    return file.read_text().strip()


def log_pictures(loggers: Sequence[Logger], pictures: Mapping[str, Path]) -> None:
    """Sends PNG files to W&B, if it is among the loggers."""
    for logger in wandb_among(loggers):
        for name, file in pictures.items():
            logger.steadily(partial(logger.log_image, name, [str(file)]))


def log_summary(loggers: Sequence[Logger], values: Mapping[str, str]) -> None:
    """Writes words into the summary of a W&B run, if W&B is among the loggers."""
    for logger in wandb_among(loggers):
        logger.steadily(partial(logger.experiment.summary.update, dict(values)))


def log_table(loggers: Sequence[Logger], name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Sends a table to W&B, if it is among the loggers."""
    for logger in wandb_among(loggers):
        data = [list(row) for row in rows]
        logger.steadily(partial(logger.log_table, name, columns=list(columns), data=data))


def log_histogram(loggers: Sequence[Logger], name: str, values: Sequence[float]) -> None:
    """Sends a histogram to W&B, if it is among the loggers."""
    for logger in wandb_among(loggers):
        import wandb

        histogram = wandb.Histogram(list(values))
        logger.steadily(partial(logger.experiment.log, {name: histogram}))


def wandb_among(loggers: Sequence[Logger]) -> list[SteadyWandbLogger]:
    return [logger for logger in loggers if isinstance(logger, SteadyWandbLogger)]
