"""A run folder: everything that a training run leaves behind.

config.yaml      the settings, complete; can be passed back with --config
run.json         versions, machine, data, and at the end the result
log.jsonl        one JSON object per step, and one per validation
model/           the averaged weights, for `load_flow`
pictures/        sample grids
"""

import json
import os
import platform
import sys
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml
from PIL import Image

from rgflow.architectures import load_flow
from rgflow.config import FlowConfig, TrainConfig
from rgflow.data import Images
from rgflow.flow import Flow


class Run:
    """A run folder.

    Args:
        folder: Where it is.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).expanduser()
        self.model = self.folder / "model"
        self.pictures = self.folder / "pictures"

    @classmethod
    def create(cls, folder: str | Path) -> "Run":
        """A new run; its folder is made when there is something to write.

        Raises:
            ValueError: If there is something in the folder already.
        """
        run = cls(folder)
        if run.folder.exists() and (not run.folder.is_dir() or any(run.folder.iterdir())):
            raise ValueError(
                f"Expected a new folder for the run; {run.folder} has something in it already: "
                f"name another with --out."
            )
        return run

    @classmethod
    def open(cls, folder: str | Path) -> "Run":
        """A run that is there.

        Raises:
            FileNotFoundError: If it isn't, or has no model yet.
        """
        run = cls(folder)
        if not (run.folder / "config.yaml").is_file():
            raise FileNotFoundError(
                f"Expected the folder of a training run; {run.folder} has no config.yaml."
            )
        if not run.model.is_dir():
            raise FileNotFoundError(
                f"Expected a trained model in {run.model}; the run hasn't saved one yet."
            )
        return run

    def config(self) -> TrainConfig:
        """The settings of the run."""
        path = self.folder / "config.yaml"
        try:
            values = yaml.safe_load(path.read_text())
            model = FlowConfig.from_dict(values.pop("model"))
            return TrainConfig(model=model, **{**values, "betas": tuple(values["betas"])})
        except (yaml.YAMLError, UnicodeError, AttributeError, KeyError, TypeError) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise ValueError(
                f"Expected the settings of a run; {path} is damaged ({reason})."
            ) from error

    def flow(self) -> Flow:
        """The trained flow, with averaged weights."""
        return load_flow(self.model)

    def write_start(
        self, config: TrainConfig, flow: Flow, images: Images, *, processes: int
    ) -> None:
        """Write what is known before the first step.

        Raises:
            ValueError: If the folder can't be written.
        """
        try:
            self.pictures.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"Expected a folder that can be written; {error}.") from error
        plain = json.loads(json.dumps(asdict(config)))
        (self.folder / "config.yaml").write_text(yaml.safe_dump(plain, sort_keys=False))
        self._write_json(
            "run.json",
            {
                "started": datetime.now(UTC).isoformat(timespec="seconds"),
                "parameters": sum(p.numel() for p in flow.parameters()),
                "data": {"name": images.name, "images": len(images), "skipped": images.skipped},
                "versions": {
                    "python": platform.python_version(),
                    **{name: version(name) for name in ("rgflow", "torch", "zuko", "numpy")},
                },
                "machine": {
                    "processor": processor(),
                    "cores": os.cpu_count(),
                    "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
                    "processes": processes,
                },
                "command": sys.argv,
            },
        )

    def write_result(self, result: Any) -> None:
        """Add what the run came to (a dataclass) to run.json."""
        path = self.folder / "run.json"
        self._write_json("run.json", {**json.loads(path.read_text()), "result": asdict(result)})

    def log(self, **values: float) -> None:
        """Append one JSON object to the log."""
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(values) + "\n")

    def save_json(self, name: str, content: Any) -> Path:
        """Write a result (a dataclass or plain values) beside the run."""
        plain = (
            asdict(content) if is_dataclass(content) and not isinstance(content, type) else content
        )
        return self._write_json(name, plain)

    def save_picture(self, picture: Image.Image, name: str) -> Path:
        """Write a picture into the run's folder of pictures."""
        path = self.pictures / name
        picture.save(path)
        return path

    def _write_json(self, name: str, content: Any) -> Path:
        path = self.folder / name
        finite = json.loads(json.dumps(content), parse_constant=lambda _: None)  # NaN isn't JSON
        path.write_text(json.dumps(finite, indent=2) + "\n")
        return path


def processor() -> str:
    """The processor's name, and whether it has bfloat16 matrix units."""
    name, flags = platform.processor() or platform.machine(), ""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
            elif key.strip() == "flags":
                flags = value
    units = "with" if "amx_bf16" in flags else "without"
    return f"{name} ({units} bf16 matrix units)"
