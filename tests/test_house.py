"""Rules of docs/contributing.md that a program can check: classes, files, imports and names."""

import ast
import importlib
import inspect
import pkgutil
import re
from functools import partial
from pathlib import Path

import pytest
from scvi.model.base import BaseModelClass

import scmichigan as mg

SRC = Path(mg.__file__).parent
API = Path(__file__).parents[1] / "docs/api.md"
N_LINES = 350
FILES = sorted(SRC.rglob("*.py"))
ROOMS = sorted(path.name for path in SRC.iterdir() if (path / "__init__.py").exists())
PUBLIC_ROOMS = ["closed_form", "combinations", "datasets", "losses", "metrics", "module", "nn", "pl", "train"]
BASE_ONLY = "a base only"


def _name(path):
    return ".".join(["scmichigan", *path.relative_to(SRC).with_suffix("").parts]).removesuffix(".__init__")


MODULES = {path: importlib.import_module(_name(path)) for path in FILES if path.name != "__main__.py"}
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
CLASSES = [
    value
    for module in MODULES.values()
    for value in vars(module).values()
    if inspect.isclass(value) and value.__module__ == module.__name__
]
BASES = {cls: [base for base in cls.__mro__[1:] if base in CLASSES] for cls in CLASSES}
SUBCLASSED = {base for bases in BASES.values() for base in bases}
MODELS = [cls for cls in CLASSES if issubclass(cls, BaseModelClass)]


def _title(value):
    return getattr(value, "__name__", "")


def test_the_walk_has_found_the_package():
    listed = {module.name for module in pkgutil.walk_packages(mg.__path__, "scmichigan.")}
    assert listed - {"scmichigan.__main__"} <= {module.__name__ for module in MODULES.values()}
    public = {value for value in map(partial(getattr, mg), mg.__all__) if inspect.isclass(value)}
    assert set(MODELS) >= public - {mg.CombinationPredictor}
    assert {"RegisteredCells", "MichiGANModule", "AdversarialTrainingPlan"} <= {cls.__name__ for cls in CLASSES}


@pytest.mark.parametrize("cls", MODELS, ids=_title)
def test_a_model_has_one_base_of_ours_at_most(cls):
    assert len(BASES[cls]) <= 1


def test_bases_say_so_and_nothing_else_is_subclassed():
    assert {cls for cls in CLASSES if BASE_ONLY in " ".join((vars(cls).get("__doc__") or "").split())} == SUBCLASSED


def test_bases_are_never_made():
    names = {base.__name__ for base in SUBCLASSED}
    made = [
        f"{path.name}: {node.func.id}"
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names
    ]
    assert made == []


def _is_concrete(value):
    value = getattr(value, "__func__", value)
    return (inspect.isfunction(value) or isinstance(value, property)) and not getattr(
        value, "__isabstractmethod__", False
    )


@pytest.mark.parametrize("cls", [cls for cls, bases in BASES.items() if bases], ids=_title)
def test_no_concrete_method_is_overridden(cls):
    own = {key for key in vars(cls) if not (key.startswith("__") and key.endswith("__"))}
    overridden = [
        f"{base.__name__}.{key}"
        for base in BASES[cls]
        for key in own & set(vars(base))
        if _is_concrete(vars(base)[key])
    ]
    assert overridden == []


# Which attributes a class has, and which its methods call: those in its body, and functions elsewhere that say of their
# argument that it is one, as methods of the GANs do (``def train(self: GAN, ...)``).


def _find(path, name):
    """Classes of that name: the one that the module has, or all of them where it is there for a type checker only."""
    own = vars(MODULES[path]).get(name)
    return [own] if own in CLASSES else [cls for cls in CLASSES if cls.__name__ == name]


def _functions_of_classes():
    """Functions with the name of an argument and of the classes that it is of."""
    for path in MODULES:
        for node in ast.walk(TREES[path]):
            if isinstance(node, ast.ClassDef):
                for function in node.body:
                    is_static = any(
                        getattr(d, "id", "") == "staticmethod" for d in getattr(function, "decorator_list", ())
                    )
                    if isinstance(function, ast.FunctionDef) and function.args.args and not is_static:
                        yield path, function, function.args.args[0].arg, _find(path, node.name)
            elif isinstance(node, ast.FunctionDef):
                for argument in [*node.args.args, *node.args.kwonlyargs]:
                    annotation = ast.unparse(argument.annotation) if argument.annotation else ""
                    # Of a container of them, the argument is none.
                    names = re.fullmatch(r"(?:type\[)?(\w+(?: \| \w+)*)\]?", annotation)
                    classes = [cls for name in (names[1].split(" | ") if names else ()) for cls in _find(path, name)]
                    if classes:
                        yield path, node, argument.arg, classes


FUNCTIONS = list(_functions_of_classes())


def _assigned():
    """Attributes that methods assign, by class."""
    found = {cls: set() for cls in CLASSES}
    for _, function, argument, classes in FUNCTIONS:
        targets = [
            node.attr
            for node in ast.walk(function)
            if isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and isinstance(node.value, ast.Name)
            and node.value.id == argument
        ]
        for cls in classes:
            found[cls].update(targets)
    return found


ASSIGNED = _assigned()


def _has(cls, attribute):
    of_all = [cls, *BASES[cls]]
    fields = {field for each in of_all for field in inspect.get_annotations(each)}
    return hasattr(cls, attribute) or attribute in fields or any(attribute in ASSIGNED[each] for each in of_all)


def test_classes_call_only_what_they_or_their_bases_have():
    calls = [
        (cls, node.func.attr)
        for path, function, argument, classes in FUNCTIONS
        for node in ast.walk(function)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == argument
        for cls in classes
    ]
    assert len(calls) > 150
    assert [f"{cls.__module__}: {cls.__name__}.{called}" for cls, called in calls if not _has(cls, called)] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SRC)))
def test_files_are_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= N_LINES


def _imported(path):
    """Modules of ours that a file imports, with the names that it takes from them; imports within a room are relative."""
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names if alias.name.partition(".")[0] == "scmichigan")
        elif isinstance(node, ast.ImportFrom):
            package = _name(path) if path.name == "__init__.py" else _name(path).rpartition(".")[0]
            base = package.rsplit(".", node.level - 1)[0] if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            if module.partition(".")[0] == "scmichigan":
                yield from ((module, alias.name) for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SRC)))
def test_private_names_do_not_cross_rooms(path):
    room = path.relative_to(SRC).parts[0]
    for module, name in _imported(path):
        other = module.split(".")[1:]
        if not other or other[0] not in ROOMS:  # a file beside the rooms, which belongs to all of them
            assert not (other and name is not None and name.startswith("_")), f"{name} of {module}"
        elif other[0] != room:
            assert len(other) == 1, f"{module} is a file of another room"
            face = importlib.import_module(module)
            offered = getattr(face, "__all__", [offer for offer in vars(face) if not offer.startswith("_")])
            assert name is None or name in offered, f"{name} of {module}"


@pytest.mark.parametrize("room", ["", *PUBLIC_ROOMS])
def test_public_names_are_in_the_reference(room):
    module = importlib.import_module(f"scmichigan.{room}".rstrip("."))
    text = API.read_text(encoding="utf-8")
    names = [name for name in module.__all__ if not (name in PUBLIC_ROOMS and not room)]
    written = [f"{room}.{name}" if room else name for name in names]
    assert [name for name in written if not re.search(rf"(?<![\w.]){re.escape(name)}\b", text)] == []
