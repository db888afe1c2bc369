"""The rules of the house, checked by reading the imports of every module.

Data flows one way and imports point towards the schema, so that each part can be used, tested and
replaced without the parts that come after it.
"""

import ast
import functools
import json
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("cosernn_tf", "beam_pipelines", "experiments")

MEASURED_WITH = (
    "benchmarks.calibration",
    "benchmarks.evaluation",
    "benchmarks.make_log",
    "benchmarks.retrieval",
    "benchmarks.serving",
    "benchmarks.sessionize",
    "benchmarks.training",
    "benchmarks.training_epoch",
)
"""Entry points outside of the packages: the rules of imports are not for them."""

MAX_LINES = 400

LIGHT = ("cosernn_tf.schema", "cosernn_tf.config", "cosernn_tf.sessions")
"""What needs neither TensorFlow nor Beam, nor does what it imports."""
HEAVY = ("tensorflow", "tensorflow_datasets", "keras", "apache_beam", "scann", "gensim")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def paths_of(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


MODULES = {module_name(path): path for path in paths_of(*PACKAGES)}


@functools.cache
def syntax(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imported_from(module: str) -> list[tuple[str, str]]:
    """Each `from a import b` in the module, as (a, b) with a absolute."""
    # The package that a relative import starts from.
    package = module.split(".")
    if MODULES[module].name != "__init__.py":
        package = package[:-1]
    pairs = []
    for node in ast.walk(syntax(MODULES[module])):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *filter(None, [node.module])])
            pairs += [(origin, alias.name) for alias in node.names]
    return pairs


@functools.cache
def imports_of(module: str) -> frozenset[str]:
    """Names of everything imported: of `from a import b`, both `a` and `a.b`."""
    names: set[str] = set()
    for node in ast.walk(syntax(MODULES[module])):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    for origin, name in imported_from(module):
        names |= {origin, f"{origin}.{name}"}
    return frozenset(names)


def own_imports(module: str) -> set[str]:
    """The modules of ours that are imported, with the packages they are in."""
    names = imports_of(module)
    packages = {name.rpartition(".")[0] for name in names}
    return set((names | packages) & MODULES.keys()) - {module}


def names_of(module: str) -> set[str]:
    """What is bound at the top of the module."""
    names: set[str] = set()
    for node in syntax(MODULES[module]).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {
                name.id
                for target in targets
                for name in ast.walk(target)
                if isinstance(name, ast.Name)
            }
    return names


def is_within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def closure(modules: tuple[str, ...]) -> set[str]:
    """The modules, and all of ours that importing them imports."""
    found: set[str] = set()
    pending = list(modules)
    while pending:
        module = pending.pop()
        if module not in found:
            found.add(module)
            pending += own_imports(module)
    return found


def entry_points() -> list[str]:
    """Modules that are run: they end in `if __name__ == "__main__"`."""
    return [
        module
        for module, path in MODULES.items()
        if isinstance(last := syntax(path).body[-1], ast.If)
        and ast.unparse(last.test) == "__name__ == '__main__'"
    ]


def test_the_modules_are_found():
    assert {"cosernn_tf", "cosernn_tf.schema", "beam_pipelines.sources"} <= MODULES.keys()
    assert "numpy" in imports_of("cosernn_tf.schema")
    assert "cosernn_tf.schema" in own_imports("cosernn_tf.table")
    assert "cosernn_tf.table" in closure(("cosernn_tf.sessions",))
    assert {"beam_pipelines.sessionize", "cosernn_tf.train"} <= set(entry_points())


# Imports -----------------------------------------------------------------------------------------


def importers(package: str) -> set[str]:
    return {
        module
        for module in MODULES
        if any(is_within(name, (package,)) for name in imports_of(module))
    }


def test_beam_is_imported_by_the_pipelines_only():
    users = importers("apache_beam")
    assert users
    assert [module for module in users if not is_within(module, ("beam_pipelines",))] == []


def test_scann_is_imported_in_one_module():
    assert importers("scann") == {"cosernn_tf.retrieval.approximate"}


def test_what_serves_over_http_is_imported_where_it_is_served():
    """The rest of the library works without the extra `serve`."""
    for package in ("fastapi", "starlette", "pydantic", "uvicorn", "uvloop", "prometheus_client"):
        users = importers(package)
        assert [name for name in users if not is_within(name, ("cosernn_tf.serving.http",))] == []
    assert importers("redis") == {"cosernn_tf.serving.redis_store"}
    assert importers("fastapi")


def test_the_pipelines_draw_in_one_module():
    users = [name for name in importers("matplotlib") if is_within(name, ("beam_pipelines",))]
    assert users == ["beam_pipelines.inspection.plots"]


def test_imports_point_towards_the_schema():
    """Experiments may use all, pipelines the library, the library itself only."""
    allowed = {
        "cosernn_tf": ("cosernn_tf",),
        "beam_pipelines": ("beam_pipelines", "cosernn_tf"),
        "experiments": PACKAGES,
    }
    for module in MODULES:
        package = module.partition(".")[0]
        wrong = [n for n in own_imports(module) if not is_within(n, allowed[package])]
        assert wrong == [], module
        assert not any(is_within(name, ("tests", "benchmarks")) for name in imports_of(module))


def test_the_rooms_of_the_pipelines_are_entered_in_one_direction():
    """Pure rules know no format, formats no Beam, and Beam's steps both."""
    rooms = {
        "beam_pipelines.rules": ("beam_pipelines.rules",),
        "beam_pipelines.sources": ("beam_pipelines.rules", "beam_pipelines.sources"),
        "beam_pipelines.inspection": ("beam_pipelines.rules", "beam_pipelines.inspection"),
        "beam_pipelines.transforms": (
            "beam_pipelines.config",
            *(f"beam_pipelines.{room}" for room in ("rules", "sources", "transforms")),
        ),
    }
    for room, allowed in rooms.items():
        modules = [module for module in MODULES if is_within(module, (room,))]
        assert modules, room
        for module in modules:
            own = own_imports(module) - {"beam_pipelines"}
            own = {name for name in own if is_within(name, ("beam_pipelines",))}
            assert [name for name in own if not is_within(name, allowed)] == [], module


def test_what_is_measured_does_not_reach_what_is_learnt():
    """Of training, only what validates, shows it and puts all together may look at metrics."""
    metrics = ("cosernn_tf.evaluation", "cosernn_tf.summaries")
    allowed = {f"cosernn_tf.training.{name}" for name in ("loop", "run", "summaries", "validation")}
    learnt = ("cosernn_tf.models", "cosernn_tf.prediction", "cosernn_tf.windows")
    looking = {
        module
        for module in MODULES
        if is_within(module, ("cosernn_tf.training", *learnt))
        and any(is_within(name, metrics) for name in own_imports(module))
    }
    assert looking <= allowed
    assert "cosernn_tf.training.validation" in looking
    for module in MODULES:
        if is_within(module, metrics):
            wrong = [n for n in own_imports(module) if is_within(n, ("cosernn_tf.training",))]
            assert wrong == [], module


def test_imports_have_no_cycle():
    # Whatever imports a module of a package runs the package's own page first.
    graph = {module: own_imports(module) - {module.rpartition(".")[0]} for module in MODULES}
    list(TopologicalSorter(graph).static_order())


def test_nothing_imports_an_entry_point():
    for module in MODULES:
        assert own_imports(module).isdisjoint(entry_points()), module


@pytest.mark.parametrize("module", LIGHT)
def test_the_foundations_import_neither_tensorflow_nor_beam(module):
    for name in closure((module,)):
        assert [heavy for heavy in HEAVY if name in importers(heavy)] == [], name


def run_without(modules: tuple[str, ...], code: str) -> str:
    """What `code` prints in a process in which the modules cannot be imported."""
    blocked = f"import sys\nsys.modules.update(dict.fromkeys({modules!r}))\n"
    done = subprocess.run(
        [sys.executable, "-c", blocked + code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_foundations_work_where_tensorflow_and_beam_are_not_installed():
    code = "".join(f"import {module}\n" for module in LIGHT) + "print('imported')"
    assert run_without(HEAVY, code) == "imported\n"


# Flags and entry points --------------------------------------------------------------------------


def test_libraries_do_not_see_flags():
    seen = {
        module
        for module in MODULES
        if any(name in ("absl.flags", "absl.app", "argparse") for name in imports_of(module))
    }
    assert seen - {"cosernn_tf.cli"} <= set(entry_points())
    assert "cosernn_tf.cli" in seen


def test_flags_are_read_in_main_and_defined_at_the_top():
    for module in entry_points():
        tree = syntax(MODULES[module])
        definitions = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and node.attr.startswith("DEFINE_")
        ]
        at_the_top = [
            node.value.func
            for node in tree.body
            if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Call)
        ]
        assert [ast.unparse(node) for node in definitions if node not in at_the_top] == [], module


_FLAGS_OF_MODULE = """
import importlib, json
from absl import flags
module = importlib.import_module({module!r})
ours = [name for name in flags.FLAGS.flags_by_module_dict() if "absl" not in name]
print(json.dumps({{
    "callable": callable(module.entry_point) and callable(module.main),
    "flags": {{
        flag.name: flag.help for name in ours for flag in flags.FLAGS.flags_by_module_dict()[name]
    }},
}}))
"""


@pytest.mark.parametrize("module", [*entry_points(), *MEASURED_WITH])
def test_an_entry_point_refuses_bad_flags_at_once_and_explains_each(module):
    """Importing it defines the flags, and imports nothing heavy: that is for after the checks."""
    found = json.loads(run_without(HEAVY, _FLAGS_OF_MODULE.format(module=module)))
    assert found["callable"]
    assert "workspace" in found["flags"]
    for name, text in found["flags"].items():
        text = (text or "").partition(";\n    repeat this option")[0]  # absl's own words
        assert len(text) > 10, f"--{name} of {module} has no help"
        assert text.rstrip()[-1] in ".)", f"the help of --{name} of {module} is no sentence: {text}"


def console_scripts() -> dict[str, str]:
    """Of setup.py: what each command calls, `module:function`."""
    for node in ast.walk(syntax(ROOT / "setup.py")):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == "console_scripts":
                    lines = ast.literal_eval(value)
                    return dict(line.replace(" ", "").split("=") for line in lines)
    raise AssertionError("setup.py has no console_scripts")


def test_every_command_of_setup_exists():
    scripts = console_scripts()
    assert len(scripts) >= 7
    for script, target in scripts.items():
        module, _, function = target.partition(":")
        assert module in entry_points(), script
        functions = [n.name for n in syntax(MODULES[module]).body if isinstance(n, ast.FunctionDef)]
        assert function in functions, script
        assert script == "cosernn-" + module.rpartition(".")[2].replace("_", "-")
    in_packages = {m for m in entry_points() if is_within(m, ("cosernn_tf", "beam_pipelines"))}
    called = {target.partition(":")[0] for target in scripts.values()}
    assert in_packages - called == {"cosernn_tf.workspace_page"}  # for who works on the project


def test_every_name_that_is_imported_or_listed_exists():
    for module in MODULES:
        for origin, name in imported_from(module):
            if origin in MODULES:
                assert name in names_of(origin) or f"{origin}.{name}" in MODULES, (module, name)
        for node in syntax(MODULES[module]).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                assert set(ast.literal_eval(node.value)) <= names_of(module), module


# Size --------------------------------------------------------------------------------------------


def test_no_file_is_long():
    files = paths_of(*PACKAGES, "tests", "benchmarks")
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert {str(p.relative_to(ROOT)): n for p, n in lengths.items() if n > MAX_LINES} == {}
