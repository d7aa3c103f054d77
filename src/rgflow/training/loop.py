"""A training from its start to its end: steps, validations, checkpoints, pictures, a result."""

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor

from rgflow import data, figures
from rgflow.architectures import make_flow
from rgflow.config import TrainConfig
from rgflow.data import Images
from rgflow.evaluation import Evaluation, summary, terms_of
from rgflow.files import absolute, located, write_picture
from rgflow.flow import Flow
from rgflow.numerics import bfloat16_pays, can_compile
from rgflow.objectives import Batch
from rgflow.text import mean_and_error
from rgflow.training.checkpoints import Checkpoints
from rgflow.training.display import Display
from rgflow.training.interruptions import Interruptions
from rgflow.training.optimisation import prepare_machine
from rgflow.training.run import Run, TrainingResult
from rgflow.training.start import check_kinds, learn_levels, load_start
from rgflow.training.trainer import Trainer, check_state

SAMPLES = 64
"""Images in the sample grid."""
MAX_VALIDATION_BATCH = 128
"""Images per batch of validation and sampling; fewer where training batches are small."""
FIT_COUNT = 20_000
"""Training images that the pixel map is fitted to."""
MAX_BAD_STEPS = 3
"""Steps in a row without a finite loss or gradient, after which training returns to the last
checkpoint."""
LR_DECAY = 0.5
"""Factor of the learning rate at each such return."""
MIN_LR_FACTOR = LR_DECAY**10
"""Training gives up below this share of the learning rate."""


def train(
    config: TrainConfig, run: Run, *, resume: bool = False, progress: bool = True
) -> TrainingResult:
    """Train a flow and leave it, with its log, pictures and checkpoints, in a run folder.

    Ctrl-C or SIGTERM end the training after the step that is under way; nothing is lost. Under
    `torchrun` or `accelerate launch` all processes share every batch; on several machines, all of
    them must see the run folder.

    Args:
        config: What to train, on what, for how long.
        run: The folder that takes the results.
        resume: Go on from the newest checkpoint in the folder. With a budget of steps, the result
            is the same, bit for bit on one processor, as without the break.
        progress: Whether to show a live display.

    Raises:
        FileNotFoundError: If there is no model of the name to start with.
        ValueError: If there is no budget, or nothing of it left; if data and flow don't fit, or the
            flow isn't that of the model to start with; or if the loss stays without a finite value.
        OSError: If the folder can't be written; the last checkpoint is intact then.
    """
    if config.minutes is None and config.steps is None:
        raise ValueError("Expected a training budget: give minutes, steps or both; got neither.")
    config.objective.check_imported()
    prepare_machine()
    # Under torchrun without a GPU, this tells accelerate to join the processes, over gloo; on a Mac
    # it would take a GPU otherwise that has no float64.
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    main = accelerator.is_main_process
    # Decided by one for all: what a timed product says may differ between processes.
    config = broadcast_object_list([resolved(config) if main else None])[0]
    checkpoints = run.checkpoints(config.keep)
    # Where there is a checkpoint, everything comes from that.
    state = checkpoints.load() if resume else None
    if state:
        check_state(state, config)
    torch.manual_seed(config.seed)
    flow = make_flow(config.model).to(getattr(torch, config.dtype))
    check_kinds(flow)
    config = replace(config, model=flow.config)  # with the number of levels
    start = load_start(flow, config) if config.pretrained and not state else None
    if config.train_levels is not None:
        learn_levels(flow, config.train_levels)
    training_set = validation_set = None
    if config.data != "none":
        show = progress and main
        # One process decodes what the others then find in the cache.
        with accelerator.local_main_process_first():
            training_set = data.load_for(config, "train", count=config.train_count, progress=show)
            validation_set = data.load_for(
                config, "validation", count=config.validate_count, progress=show
            )
        _check_kind(config, training_set)
        if flow.pixels and not config.pretrained:
            flow.fit_pixels(torch.from_numpy(training_set.images[:FIT_COUNT].copy()))
    if not config.pretrained:
        config.objective.begin(flow)
    trainer = Trainer(config, flow, training_set, accelerator)
    with _one_sentence_if_full(run), run.locked() if main else nullcontext():
        if state:
            trainer.restore(state)
        elif resume and run.entries():
            raise ValueError(
                f"Expected a checkpoint in {run.folder} to go on from; its log has entries, but "
                f"there is none: begin a new run with --config {run.folder / 'config.yaml'}."
            )
        # A process that is killed right at the end has its result still to write.
        if trainer.fraction() >= 1 and "result" in run.record():
            raise ValueError(
                f"Expected a budget that isn't used up; {run.folder} has reached its end at step "
                f"{trainer.step}: give a larger --steps or --minutes."
            )
        accelerator.wait_for_everyone()
        if main:
            run.write_start(
                config, flow, training_set, processes=accelerator.num_processes, start=start
            )
        uncompiled = trainer.compile()
        display = Display(config, flow, training_set, enabled=progress and main)
        session = _Session(trainer, run, checkpoints, validation_set, display)
        if main:
            run.open_log(trainer.log_size)
        with display, Interruptions() as interruptions:
            if checkpoints.damaged:
                session.tell(f"{checkpoints.damage()}: goes on from step {trainer.step}")
            if uncompiled:
                session.tell(f"trains without compiled maps, which is slower: {uncompiled}")
            session.loop(interruptions, resumed=state is not None)
            skipped = training_set.skipped if training_set else ()
            return session.finish(interruptions.noted, skipped)


def resolved(config: TrainConfig) -> TrainConfig:
    """The settings with everything that depends on the machine or the working directory fixed, so
    that a run can be repeated and resumed from anywhere."""
    model = config.model
    if model.compute_dtype == "auto":
        # In float64 there is something to check, which bfloat16 would blur.
        pays = config.dtype == "float32" and bfloat16_pays()
        model = replace(model, compute_dtype="bfloat16" if pays else "float32")
    root = config.data_root and str(located(config.data_root))
    start = config.pretrained
    if start and located(start).is_dir():
        start = str(located(start))
    return replace(
        config,
        model=model,
        pretrained=start,
        compile=config.compile is not False and can_compile(),
        data=absolute(config.data),
        data_root=root,
    )


def _check_kind(config: TrainConfig, images: Images) -> None:
    """Raise a `ValueError` unless the pixel map suits the images."""
    real = np.issubdtype(images.images.dtype, np.floating)
    if real and config.model.pixels is not None:
        raise ValueError(
            f"Expected images of 8 bits for the pixel map {config.model.pixels}; {config.data} "
            f"holds real-valued fields: set --model.pixels null."
        )
    if not real and config.model.pixels is None:
        raise ValueError(
            f"Expected real-valued fields, as --model.pixels is null; {config.data} holds images: "
            f"set it to logit or marginal."
        )


@contextmanager
def _one_sentence_if_full(run: Run) -> Iterator[None]:
    """Turn an `OSError` of a full disk into one sentence that says what is left."""
    try:
        yield
    except OSError as error:
        advice = "make room, or name another folder with --out"
        if paths := run.checkpoints(1).paths():
            advice = (
                f"the checkpoint of step {int(paths[-1].stem)} is intact: make room, then go on "
                f"with --resume {run.folder}"
            )
        raise OSError(
            f"Expected to be able to write to {run.folder}; got: {error.strerror or error}; "
            f"{advice}."
        ) from error


class _Session:
    """A training from its start, or from where it is resumed, until it stops."""

    def __init__(
        self,
        trainer: Trainer,
        run: Run,
        checkpoints: Checkpoints,
        validation: Images | None,
        display: Display,
    ) -> None:
        self.trainer, self.run, self.validation, self.display = trainer, run, validation, display
        self.checkpoints = checkpoints
        self.main = trainer.accelerator.is_main_process
        self.validated_at = trainer.seconds
        self.last: tuple[int, Evaluation] | None = None

    def loop(self, interruptions: Interruptions, *, resumed: bool) -> None:
        """Take steps until the budget is used up or a signal arrives."""
        trainer = self.trainer
        if not resumed:
            self.save()  # so that there is always a good state to go back to
            if trainer.config.pretrained:
                self.validate()  # what it began with may stay the best
            trainer.start_clock()
            self.validated_at = trainer.seconds
        while True:
            fraction, stop, due = trainer.agreed(
                trainer.fraction(),
                interruptions.noted,
                trainer.seconds - self.validated_at > trainer.config.validate_every,
            )
            if fraction >= 1 or stop:
                return
            if due:
                self.validate()
                if trainer.agreed(trainer.stale)[0] >= (trainer.config.patience or math.inf):
                    self.tell("ends, as validation images have been getting worse")
                    return
            good = trainer.take_step(fraction)
            self.report(good, trainer.fraction())
            if trainer.bad == MAX_BAD_STEPS:
                self.go_back()

    def report(self, good: bool, fraction: float) -> None:
        """Log and show a step."""
        trainer = self.trainer
        if not self.main:
            return
        values = {"nll": trainer.nll, "gradient_norm": trainer.gradient_norm, "lr": trainer.lr}
        self.run.log.write(trainer.step, trainer.seconds, **values)
        self.display.update(trainer.step, trainer.seconds, fraction, trainer.nll)
        if not good:
            self.tell("step left out: its loss or gradient isn't finite")

    def tell(self, event: str) -> None:
        """Log and show an event."""
        if self.main:
            self.run.log.write(self.trainer.step, self.trainer.seconds, event=event)
            self.display.tell(event)

    def go_back(self) -> None:
        """Return to the last checkpoint, with a lower learning rate.

        Raises:
            ValueError: If the learning rate has become too small.
        """
        trainer, step = self.trainer, self.trainer.step
        factor, skipped = trainer.lr_factor * LR_DECAY, trainer.skipped_steps
        seconds = trainer.seconds
        if factor < MIN_LR_FACTOR:
            raise ValueError(
                f"Expected losses and gradients to stay finite; they don't, at step {step}, not "
                f"even with {MIN_LR_FACTOR:.0e} of the learning rate: look at the data, lower "
                f"--lr, or raise --warmup; checkpoints and log are in {self.run.folder}."
            )
        trainer.accelerator.wait_for_everyone()
        state = self.checkpoints.load()
        assert state
        trainer.restore(state)
        trainer.lr_factor, trainer.skipped_steps = factor, skipped
        trainer.start_clock(seconds)
        self.tell(
            f"{MAX_BAD_STEPS} such steps in a row: went back from step {step} to {trainer.step}, "
            f"with {factor:g} of the learning rate"
        )
        trainer.accelerator.wait_for_everyone()
        self.save()

    def save(self) -> None:
        """Write a checkpoint."""
        if self.main:
            self.trainer.log_size = self.run.log.size()
            self.checkpoints.save(self.trainer.step, self.trainer.state())

    def validate(self) -> None:
        """Validate the averaged weights, on images or samples; then save the model if it is the
        best, a checkpoint, and pictures."""
        trainer, run = self.trainer, self.run
        if self.main:
            flow = trainer.optimisation.averaged_flow()
            result, scores = self._validated(flow)
            self.last = trainer.step, result
            run.log.write(
                trainer.step,
                trainer.seconds,
                validation_nll=result.nll,
                standard_error=result.standard_error,
                **scores,
            )
            rank = trainer.config.objective.rank(result.nll, scores)
            if trainer.step != trainer.validated:  # or a resumed run validates once more
                trainer.stale = 0 if rank < trainer.rank else trainer.stale + 1
            trainer.validated = trainer.step
            if rank < trainer.rank or (math.isfinite(result.nll) and not run.model.is_dir()):
                trainer.rank, trainer.best = min(trainer.rank, rank), result.nll
                flow.save_pretrained(run.model)
            self.save()
            self._draw(flow)
            self.display.validated(result, scores)
        self.validated_at = trainer.seconds

    @torch.no_grad()
    def _validated(self, flow: Flow) -> tuple[Evaluation, dict[str, float]]:
        """What the terms of the validation images, or of samples, come to, and the objective's own
        scores."""
        config = self.trainer.config
        at_once = self._at_once()
        if self.validation and config.objective.needs_data is not None:
            images = torch.from_numpy(self.validation.images.copy())
            terms = terms_of(flow, images, labels=self._labels(len(images)), batch_size=at_once)
            return summary(flow, terms, seed=0), {}
        generator = torch.Generator(flow.device).manual_seed(0)
        batch = Batch(size=config.validate_count, generator=generator)
        parts = batch.split(math.ceil(batch.size / at_once))
        losses = torch.cat([config.objective.losses(flow, part) for part in parts]).double().cpu()
        terms = terms_of(flow, flow.sample(batch.size, generator=generator), batch_size=at_once)
        nll, error = mean_and_error(flow.unit(-losses))
        result = replace(summary(flow, terms, seed=0), nll=nll, standard_error=error)
        return result, config.objective.scores(losses)

    def _labels(self, count: int) -> Tensor | None:
        """Labels of so many images, those for validation over and over, if the flow has any."""
        held = self.validation
        found = held.classes(self.trainer.config.model.labels) if held else None
        return (
            None if found is None else torch.from_numpy(np.resize(found, (count, *found.shape[1:])))
        )

    def _at_once(self) -> int:
        """Images per batch without gradients: four times as many as a training step holds, which
        fits in the same memory."""
        config = self.trainer.config
        return min(MAX_VALIDATION_BATCH, 4 * math.ceil(config.batch_size / config.accumulate))

    def _draw(self, flow: Flow) -> None:
        """Draw samples, from the same latents every time, and the learning curve."""
        if flow.config.channels in (1, 3) and flow.pixels:
            device = flow.device
            z = flow.draw(SAMPLES, generator=torch.Generator(device).manual_seed(0))
            most = self._at_once()
            labels = self._labels(SAMPLES)
            parts = [slice(k, k + most) for k in range(0, SAMPLES, most)]
            samples = torch.cat(
                [
                    flow.decode(z.select(part), labels=None if labels is None else labels[part])
                    for part in parts
                ]
            )
            samples = flow.bounded(samples)
            path = self.run.pictures / f"samples-{self.trainer.step:07d}.png"
            write_picture(path, figures.grid(samples))
        self.run.draw_curve(flow.unit.name)

    def finish(self, interrupted: bool, skipped: tuple[str, ...]) -> TrainingResult:
        """Validate and save the last weights, and write the result.

        Raises:
            ValueError: If their likelihood isn't finite.
        """
        trainer = self.trainer
        if self.last is None or self.last[0] != trainer.step:
            self.save()  # a validation takes time, which a job scheduler may not grant
            self.validate()
        validation = self.last[1].nll if self.last else math.nan
        if self.main and not math.isfinite(validation):
            raise ValueError(
                f"Expected a finite likelihood of validation images; got {validation} after step "
                f"{trainer.step}, {trainer.skipped_steps} of which were left out: lower --lr, or "
                f"raise --warmup; the best model so far and the checkpoints are in "
                f"{self.run.folder}."
            )
        result = TrainingResult(
            steps=trainer.step,
            seconds=trainer.seconds,
            images_per_second=trainer.step * trainer.config.batch_size / max(trainer.seconds, 1e-9),
            unit=trainer.flow.unit.name,
            validation=validation,
            best=trainer.best,
            interrupted=interrupted and trainer.fraction() < 1,
            skipped_steps=trainer.skipped_steps,
            compile_seconds=trainer.compile_seconds,
            skipped=skipped,
        )
        if self.main:
            self.run.write_result(result)
            self.run.log.close()
        trainer.accelerator.wait_for_everyone()
        return result
