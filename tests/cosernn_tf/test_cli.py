"""What entry points share: exit codes, errors in one line, the default verbosity."""

import re
import textwrap

import pytest

from tests.entry_points import Result, run_each

MODULE = """
    import importlib.util, logging as python_logging, os, sys
    from absl import flags, logging
    from cosernn_tf import cli
    from cosernn_tf.errors import UserError

    DO = flags.DEFINE_enum("do", "nothing", ["nothing", "refuse", "crash"], "What happens.")

    def main(argv):
        logging.info("an informative line")
        logger = logging.get_absl_logger()
        for level in (python_logging.INFO, python_logging.WARNING):
            for library in ("tensorflow", "keras"):
                place = importlib.util.find_spec(library).origin
                text = f"{library} {python_logging.getLevelName(level)}"
                logger.handle(logger.makeRecord("absl", level, place, 1, text, (), None))
        print(f"{cli.WORKSPACE.value} {argv[1:]} {os.environ['TF_CPP_MIN_LOG_LEVEL']}")
        if DO.value == "refuse":
            raise UserError("the log\\nis empty: give\\tanother")
        if DO.value == "crash":
            raise ValueError("a bug")

    if __name__ == "__main__":
        cli.run(main, passes_unknown_flags="--anything" in sys.argv)
"""

CALLS = {
    "plain": [],
    "workspace": ["--workspace=elsewhere"],
    "quiet": ["--verbosity=-1"],
    "refuse": ["--do=refuse"],
    "crash": ["--do=crash"],
    "argument": ["sessions"],
    "unknown flag": ["--wrkspace=x"],
    "bad value": ["--do=something"],
    "flagfile": ["--flagfile=my.flags"],
    "no flagfile": ["--flagfile=nowhere.flags"],
    "passed on": ["--anything", "--workspace=w", "--runner_flag=3"],
    "help": ["--help"],
}


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict[str, Result]:
    folder = tmp_path_factory.mktemp("cli")
    (folder / "an_entry_point.py").write_text(textwrap.dedent(MODULE))
    (folder / "my.flags").write_text("# a comment\n--workspace=from_file\n")
    output = run_each(
        "an_entry_point",
        list(CALLS.values()),
        folder=folder,
        output=folder / "results",
        preload=["cosernn_tf.cli"],
    )
    return dict(zip(CALLS, output, strict=True))


def test_success(results):
    result = results["plain"]
    assert result.code == 0
    assert result.stdout == "workspace [] 3\n"
    assert "an informative line" in result.stderr
    assert results["workspace"].stdout == "elsewhere [] 3\n"
    assert results["flagfile"].stdout == "from_file [] 3\n"


def test_verbosity_is_heard(results):
    assert results["quiet"].code == 0
    assert "an informative line" not in results["quiet"].stderr


def test_libraries_may_warn_and_no_more(results):
    for call in ("plain", "quiet"):
        for library in ("tensorflow", "keras"):
            assert f"{library} WARNING" in results[call].stderr
            assert f"{library} INFO" not in results[call].stderr


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("refuse", "the log is empty: give another"),
        ("argument", "unexpected argument 'sessions': every argument is a --flag (see --help)"),
        ("unknown flag", "Unknown command line flag 'wrkspace'. Did you mean: workspace ?"),
        ("bad value", "flag --do=something: value should be one of <nothing|refuse|crash>"),
        ("no flagfile", "nowhere.flags"),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_exit_code_2(results, call, message):
    assert results[call].code == 2
    assert message in results[call].error
    logged = [line for line in results[call].stderr.splitlines() if re.match("[IW]\\d{4} ", line)]
    assert len(results[call].stderr.splitlines()) == len(logged) + 1


def test_a_bug_keeps_its_traceback(results):
    assert results["crash"].code == 1
    assert "Traceback" in results["crash"].stderr
    assert "ValueError: a bug" in results["crash"].stderr


def test_unknown_flags_can_be_left_to_main(results):
    assert results["passed on"].code == 0
    assert results["passed on"].stdout == "w ['--anything', '--runner_flag=3'] 3\n"


def test_help_explains_the_flags(results):
    assert "What happens." in results["help"].stdout
    assert "unexpected" not in results["help"].stderr
