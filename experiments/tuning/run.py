"""A study from its first trial to its report."""

from pathlib import Path

from cosernn_tf.errors import UserError
from cosernn_tf.workspace import Workspace
from experiments.tuning.plots import PLOTS, write_plots
from experiments.tuning.report import BEST_FLAGS, write_tables
from experiments.tuning.study import Study, StudyPlan, make_trials, open_study
from experiments.tuning.trials import best_of


def tune(
    workspace: Workspace, plan: StudyPlan, *, retry_failed: bool = False, overwrite: bool = False
) -> Path:
    """Makes the trials of a study that are not made yet, prints the table and writes the report.

    Args:
        workspace: Has session sequences; track embeddings are made if it has none.
        plan: What is searched, and how.
        retry_failed: Whether trials that failed are made again.
        overwrite: Whether a study of that name is removed first.

    Returns:
        The study's directory.

    Raises:
        UserError: No session sequences; a study with other flags or data; training that was refused
            or stopped; no trial that succeeded.
    """
    with open_study(workspace, plan, overwrite=overwrite) as study:
        if retry_failed:
            study.forget_failed()
        for trials in make_trials(study):
            write_tables(study, trials)
        _report(study)
        return study.folder


def _report(study: Study) -> None:
    # TensorFlow, which the runs need more than this process does.
    from experiments.tuning.hparams import TENSORBOARD, write_hparams

    trials, folder = study.trials, study.folder
    text = write_tables(study, trials)
    write_plots(folder / PLOTS, study.plan.space, trials)
    write_hparams(folder / TENSORBOARD, study.plan.space, trials)
    print(
        f"\n{text}\nWritten to {folder}. In TensorBoard, --logdir {folder / TENSORBOARD} shows the "
        f"tab HParams, --logdir {folder / 'runs'} the epochs of all trials."
    )
    if best_of(trials) is None:
        raise UserError(f"no trial of {folder} was trained to its end: the table says what was")
    print(
        f"The best again: python -m cosernn_tf.train --workspace={folder.parents[1]} "
        f"--flagfile={folder / BEST_FLAGS}",
        flush=True,
    )
