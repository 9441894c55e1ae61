import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from kennel.errors import ContractError, KennelError
from kennel.serving import script_defaults
from kennel.serving.request import RequestError
from kennel.serving.script import RaisedError, Script, ScriptError, load_script
from kennel.serving.source_dir import SourceDir
from served_archive import make_archive, picture

Loader = Callable[..., Script]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loader]:
    """Loads a script as a server's process does, and gives this process back afterwards."""
    before = set(sys.modules)
    cwd = os.getcwd()
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setenv("PYTHONPATH", "/before")

    def loader(code: str, *, program: str = "inference.py", **files: str) -> Script:
        folder = tmp_path / "model" / "code"
        for name, content in {program: code, **files}.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(dedent(content))
        return load_script(SourceDir(folder, folder / program), tmp_path / "model", context="the context")

    yield loader
    os.chdir(cwd)
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]
    sys.modules.pop("inference", None)  # other tests' is Kennel's


MODEL = "def model_fn(model_dir): return 'model'\n"


def test_functions_are_called_in_turn_with_what_the_one_before_gave(load: Loader) -> None:
    script = load(
        MODEL
        + """
def input_fn(body, content_type): return [body, content_type]
def predict_fn(data, model): return [*data, model]
def output_fn(prediction, accept): return [*prediction, accept]
"""
    )
    assert script.transform("", "body", content_type="a/b", accept="c/d") == ["body", "a/b", "model", "c/d"]
    own = ["model_fn", "input_fn", "predict_fn", "output_fn"]
    assert script.description == {"script": "inference.py", "functions": own}


def test_transform_fn_answers_alone_and_each_function_may_take_the_context(load: Loader) -> None:
    script = load(
        """
        seen = []
        def pre_model_fn(model_dir): seen.append("pre")
        def model_fn(model_dir, context): return [context, *seen]
        def model_warmup_fn(model_dir, model, context): model.append("warm")
        def transform_fn(model, body, content_type, accept, context): return [*model, body, context]
        """
    )
    answer = script.transform("of the request", b"x", content_type=None, accept="")
    assert answer == ["the context", "pre", "warm", b"x", "of the request"]


@pytest.mark.parametrize(
    ("signature", "given"),
    [
        ("(data, model)", {"data": "x", "model": "m"}),
        ("(data, model, context)", {"data": "x", "model": "m", "context": "c"}),
        ("(data, model, context=None)", {"data": "x", "model": "m", "context": "c"}),
        ("(data, *rest)", {"data": "x", "rest": ("m",)}),
        ("(*rest)", {"rest": ("x", "m")}),
        ("(*rest, **named)", {"rest": ("x", "m"), "named": {}}),
        ("(data, model, one=1, two=2)", {"data": "x", "model": "m", "one": 1, "two": 2}),
    ],
)
def test_a_function_gets_the_context_if_it_has_a_place_for_it(
    load: Loader, signature: str, given: dict[str, object]
) -> None:
    script = load(
        f"""
        def model_fn(model_dir): return "m"
        def input_fn(body, content_type): return body
        def predict_fn{signature}: return locals()
        def output_fn(prediction, accept): return prediction
        """
    )
    assert script.transform("c", "x", content_type="a/b", accept="") == given


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            MODEL + "def input_fn(body): pass",
            r"inference.py: input_fn\(body\) takes 1 arguments. Expected 2, or 3 with",
        ),
        (MODEL + "def output_fn(a, b, c, d): pass", r"output_fn\(a, b, c, d\) takes 4 arguments. Expected 2, or 3"),
        (
            MODEL + "def transform_fn(a, b, c, d): pass\ndef input_fn(a, b): pass",
            "inference.py defines transform_fn, and input_fn too, which it would replace. Leave one out.",
        ),
        ("def model_fn(model_dir): return 1 / 0", r"inference.py: model_fn raised ZeroDivisionError: division by zero"),
        ("import nothing_like_it", r"cannot be imported: ModuleNotFoundError: No module named 'nothing_like_it' \("),
        ("x = 1\nif x\n", r"cannot be imported: SyntaxError: expected ':' \(inference.py:2\). Its traceback is above."),
        ("raise SystemExit", r"inference.py cannot be imported: SystemExit \(inference.py:1\)."),
    ],
)
def test_a_script_that_cannot_be_used_says_why_and_where(
    load: Loader, capsys: pytest.CaptureFixture[str], code: str, message: str
) -> None:
    with pytest.raises(ScriptError, match=message) as caught:
        load(code)
    if "above" in str(caught.value):
        assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        ("ModuleNotFoundError('no', name='torch')", "torch is not installed here: use the image that has torch"),
        ("ModuleNotFoundError('no', name='cv2')", "Put cv2 into the archive's code/, or name it in code/requirements"),
        ("RuntimeError('Weights only load failed.')", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 in the model's environment"),
        ("ConnectionError('no route')", "pack what it needs into the archive"),
    ],
)
def test_what_is_met_here_and_not_on_aws_has_a_remedy(load: Loader, error: str, remedy: str) -> None:
    with pytest.raises(ScriptError) as caught:
        load(f"def model_fn(model_dir):\n    raise {error}\n")
    assert remedy in str(caught.value)


def test_the_place_of_a_fault_is_the_scripts_own_line(load: Loader) -> None:
    code = "import json\nfrom net import load\n\ndef model_fn(model_dir):\n    return load()\n"
    with pytest.raises(ScriptError, match=r"JSONDecodeError: Expecting .* \(net.py:3\)"):
        load(code, **{"net.py": "import json\ndef load():\n    return json.loads('{')\n"})


def test_the_scripts_folder_comes_first_and_the_models_is_the_current_one(load: Loader, tmp_path: Path) -> None:
    script = load(
        """
        import os, sys
        from inside.net import name
        from linear import net
        import lib.linear
        def model_fn(model_dir): return [__name__, name, net, os.getcwd() == model_dir, os.environ["PYTHONPATH"]]
        def transform_fn(model, body, content_type, accept): return model
        """,
        program="train.py",
        **{"inside/net.py": "name = 'sibling'", "lib/linear.py": "net = 'dependency'"},
    )
    path = f"{tmp_path / 'model' / 'code'}:/before"
    assert script.model == ["train", "sibling", "dependency", True, path]
    assert not list(tmp_path.rglob("__pycache__"))


def test_what_a_function_raises_is_told_apart(load: Loader) -> None:
    script = load(
        MODEL
        + """
def input_fn(body, content_type): raise {"a": ValueError, "b": SystemExit, "c": MemoryError}[body]("why")
def predict_fn(data, model): pass
def output_fn(prediction, accept): pass
"""
    )
    for body, kind in (("a", ValueError), ("b", SystemExit), ("d", KeyError)):
        with pytest.raises(RaisedError) as caught:
            script.transform("", body, content_type="", accept="")
        assert (caught.value.name, type(caught.value.__cause__)) == ("input_fn", kind)
    with pytest.raises(MemoryError):
        script.transform("", "c", content_type="", accept="")


def test_beside_a_kennel_model_what_is_missing_is_kennels(load: Loader, tmp_path: Path) -> None:
    make_archive(tmp_path / "model")
    script = load("def output_fn(answer, accept): return answer.predictions[0].label")
    label = script.transform("", bytearray(picture()), content_type="image/png", accept="")
    assert label in script.model.card.labels
    with pytest.raises(RequestError, match="is not an image"):
        script.transform("", b"hello", content_type="image/png", accept="")
    assert load(MODEL).functions["input_fn"].function is script_defaults.input_fn


def test_a_kennel_model_that_cannot_be_used_keeps_its_own_reason(load: Loader, tmp_path: Path) -> None:
    make_archive(tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(KennelError, match=r"model.safetensors") as caught:
        load("def output_fn(answer, accept): return ''")
    assert type(caught.value).__name__ == "ArchiveError"


def test_without_torch_a_script_of_its_own_functions_needs_none(load: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script_defaults, "find_spec", lambda name: None)
    with pytest.raises(
        ContractError, match="The script defines no predict_fn, and what stands in for that needs torch"
    ):
        load(MODEL + "def input_fn(body, content_type): return body")
    whole = "def input_fn(body, content_type): return body\ndef predict_fn(data, model): return data"
    script = load(MODEL + whole)
    assert script.transform("", "[1]", content_type="", accept="application/json") == (b'"[1]"', "application/json")


@pytest.mark.parametrize(
    ("switch", "line"), [("", "asks for what is not installed: nothing-like-it"), ("maybe", "maybe")]
)
def test_requirements_are_looked_at_before_the_script(
    load: Loader, monkeypatch: pytest.MonkeyPatch, switch: str, line: str
) -> None:
    monkeypatch.setenv("KENNEL_REQUIREMENTS", switch)
    with pytest.raises(KennelError, match=line):
        load("raise SystemExit", **{"requirements.txt": "nothing-like-it\n"})


def test_requirements_that_are_installed_are_said_so(load: Loader, capsys: pytest.CaptureFixture[str]) -> None:
    load(MODEL, **{"requirements.txt": "pytest\n"})
    assert "requirements.txt: all of it is installed already." in capsys.readouterr().err


def test_the_handler_needs_no_package_that_only_requirements_do() -> None:
    code = "import sys; sys.modules['packaging'] = None; import kennel.serving.handler"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
