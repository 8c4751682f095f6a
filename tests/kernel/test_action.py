"""The GitHub Action: its files parse, hand nothing from outside to a shell, and its comment is one comment."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).parents[2]
ACTIONS = ("action/action.yml", "action/comment/action.yml")
WORKFLOWS = (".github/workflows/edgecc.yml", ".github/workflows/edgecc-comment.yml")
COMMENT = ROOT / "action/comment.py"
BOT = "github-actions[bot]"
SHA = "c0ffee" * 6 + "c0ff"
HOSTILE = "$(touch pwned) `touch pwned`; touch pwned '\" -n"

pytestmark = pytest.mark.dev


def parsed(text: str) -> dict[Any, Any]:
    import yaml

    document = yaml.safe_load(text)
    assert isinstance(document, dict)
    return document


def documents() -> dict[str, dict[Any, Any]]:
    """Every action and workflow, those shown in the documentation among them."""
    found = {name: parsed((ROOT / name).read_text()) for name in (*ACTIONS, *WORKFLOWS)}
    shown = re.findall(r"^```yaml\n(.*?)^```$", (ROOT / "docs/ci.md").read_text(), re.DOTALL | re.MULTILINE)
    shown = [text for text in shown if "jobs:" in text]
    assert len(shown) == 4
    return found | {f"docs/ci.md {number}": parsed(text) for number, text in enumerate(shown)}


def workflows() -> dict[str, dict[Any, Any]]:
    return {name: document for name, document in documents().items() if "jobs" in document}


def steps(document: dict[Any, Any]) -> list[dict[str, Any]]:
    if "runs" in document:
        return list(document["runs"]["steps"])
    return [step for job in document["jobs"].values() for step in job["steps"]]


def step(name: str, file: str = ACTIONS[0]) -> dict[str, Any]:
    [found] = [step for step in steps(parsed((ROOT / file).read_text())) if step.get("name") == name]
    return found


def test_no_expression_is_pasted_into_a_shell() -> None:
    bodies = [step["run"] for document in documents().values() for step in steps(document) if "run" in step]
    assert len(bodies) >= 8
    for body in bodies:
        assert "${{" not in body
        subprocess.run(["bash", "-n"], input=body, text=True, check=True)


def test_every_shell_of_an_action_is_named() -> None:
    for name in ACTIONS:
        for each in steps(parsed((ROOT / name).read_text())):
            assert ("run" in each) == (each.get("shell") == "bash")


def test_every_other_action_is_pinned_to_a_full_version() -> None:
    used = [step["uses"] for document in documents().values() for step in steps(document) if "uses" in step]
    assert len(used) >= 12
    for each in used:
        assert re.fullmatch(r"[\w-]+/[\w/-]+@v\d+\.\d+\.\d+", each) or (ROOT / each / "action.yml").is_file()


def test_workflows_have_the_least_permissions() -> None:
    for document in workflows().values():
        assert document["permissions"] == {}
        assert "pull_request_target" not in document[True]  # YAML 1.1 reads `on` as true
        for job in document["jobs"].values():
            assert isinstance(job["permissions"], dict)
            assert job["timeout-minutes"] <= 60
            for each in job["steps"]:
                if each.get("uses", "").startswith("actions/checkout@"):
                    assert each["with"]["persist-credentials"] is False


def test_a_workflow_with_a_token_that_writes_checks_out_nothing_of_a_fork() -> None:
    trusted = [document for document in workflows().values() if "workflow_run" in document[True]]
    assert len(trusted) == 2
    for document in trusted:
        [job] = document["jobs"].values()
        assert "head_repository.full_name != github.repository" in job["if"]
        assert not any("ref" in step.get("with", {}) for step in job["steps"])
        assert not any("run" in step for step in job["steps"])


def test_only_the_comment_gets_the_token() -> None:
    for name in ACTIONS:
        given = [each["name"] for each in steps(parsed((ROOT / name).read_text())) if "inputs.token" in str(each)]
        assert set(given) <= {"Comment", "Fetch what the fork's run left"}


def test_inputs_that_are_used_are_declared_and_the_other_way_round() -> None:
    for name in ACTIONS:
        text = (ROOT / name).read_text()
        used = set(re.findall(r"\binputs\.([\w-]+)", text))
        assert used == set(parsed(text)["inputs"])


class Runner:
    """Runs a step of the action as GitHub does, with a scripted edgecc on the PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.project = folder / HOSTILE
        self.temp = folder / "temp"
        for each in (self.project / "report", self.temp, folder / "bin"):
            each.mkdir(parents=True)
        (self.project / "edgecc.toml").touch()

    def install_edgecc(self, **codes: int) -> None:
        cases = "".join(f"{verb}) exit {code};;" for verb, code in codes.items())
        write_report = 'case "$1" in run|report) echo now > "$3/report/summary.md";; esac'
        script = (
            f'#!/bin/bash\n[ "$2" = -- ] || exit 99\necho "$1" >> "$CALLS"\n{write_report}\ncase "$1" in {cases} esac\n'
        )
        (self.folder / "bin/edgecc").write_text(script)
        (self.folder / "bin/edgecc").chmod(0o755)

    def run(self, name: str, **environment: str) -> subprocess.CompletedProcess[str]:
        body = self.folder / "body.sh"
        body.write_text(step(name)["run"])
        files = {name: str(self.folder / name) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "CALLS")}
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(body)],
            env={"PATH": path, "PROJECT": HOSTILE, "RUNNER_TEMP": str(self.temp), **files, **environment},
            cwd=self.folder, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def written(self, name: str) -> str:
        return (self.folder / name).read_text()


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    yield Runner(tmp_path)
    assert not list(tmp_path.rglob("pwned"))


@pytest.mark.parametrize("code", [0, 1, 2, 3, 143])
def test_a_run_keeps_edgeccs_code(runner: Runner, code: int) -> None:
    runner.install_edgecc(run=code)
    answer = runner.run("Run edgecc", RUN="true")
    assert answer.returncode == 0
    assert runner.written("GITHUB_OUTPUT") == f"exit-code={code}\n"
    assert runner.written("CALLS") == "run\n"
    assert runner.run("Exit as edgecc did", CODE=str(code)).returncode == code


@pytest.mark.parametrize(("gate", "report", "code"), [(0, 0, 0), (1, 0, 1), (3, 2, 3), (0, 2, 2)])
def test_without_a_run_it_gates_and_reports_all_the_same(runner: Runner, gate: int, report: int, code: int) -> None:
    runner.install_edgecc(gate=gate, report=report)
    assert runner.run("Run edgecc", RUN="false").returncode == 0
    assert runner.written("CALLS") == "gate\nreport\n"
    assert runner.written("GITHUB_OUTPUT") == f"exit-code={code}\n"


def test_an_old_summary_is_never_this_runs(runner: Runner) -> None:
    (runner.project / "report/summary.md").write_text("Pass")
    (runner.folder / "bin/edgecc").write_text("#!/bin/bash\nexit 2\n")
    (runner.folder / "bin/edgecc").chmod(0o755)
    runner.run("Run edgecc", RUN="true")
    assert runner.run("Show the summary", CODE="2", PULL_REQUEST="").returncode == 0
    assert "exit code 2 and wrote no report" in runner.written("GITHUB_STEP_SUMMARY")


def test_the_summary_is_shown_and_kept_for_the_comment(runner: Runner) -> None:
    text = f"**Fail** {HOSTILE}\n"
    (runner.project / "report/summary.md").write_text(text)
    assert runner.run("Show the summary", CODE="1", PULL_REQUEST="12").returncode == 0
    assert runner.written("GITHUB_STEP_SUMMARY") == text
    kept = Path(runner.written("GITHUB_OUTPUT").removeprefix("folder=").rstrip("\n"))
    assert (kept / "summary.md").read_text() == text
    assert (kept / "pull-request.txt").read_text() == "12\n"


@pytest.mark.parametrize(
    ("environment", "code"),
    [
        ({"RUN": "true", "COMMENT": "false"}, 0),
        ({"RUN": "yes", "COMMENT": "false"}, 2),
        ({"RUN": "true", "COMMENT": ""}, 2),
        ({"RUN": "true", "COMMENT": "true", "PROJECT": "nowhere"}, 2),
    ],
)
def test_wrong_inputs_stop_it_at_once(runner: Runner, environment: dict[str, str], code: int) -> None:
    answer = runner.run("Check the inputs", **environment)
    assert answer.returncode == code
    assert answer.stdout.startswith("::error::") == bool(code)


def requirements(runner: Runner, **environment: str) -> list[str]:
    (runner.folder / "bin/python").write_text('#!/bin/bash\ncat -- "${@: -1}"\n')
    (runner.folder / "bin/python").chmod(0o755)
    (runner.folder / "repo/action").mkdir(parents=True)
    answer = runner.run("Install", GITHUB_ACTION_PATH=str(runner.folder / "repo/action"), **environment)
    assert answer.returncode == 0
    return answer.stdout.splitlines()


@pytest.mark.parametrize(("run", "extra"), [("true", "[compile]"), ("false", "")])
def test_edgecc_is_installed_in_the_actions_own_version(runner: Runner, run: str, extra: str) -> None:
    assert requirements(runner, REQUIREMENTS="", RUN=run) == [f"{runner.folder}/repo{extra}"]


def test_what_the_user_names_is_installed_instead(runner: Runner) -> None:
    named = "edgecc[compile]==0.1.0\npandas"
    assert requirements(runner, REQUIREMENTS=named, RUN="true") == named.splitlines()


class FakeGitHub(ThreadingHTTPServer):
    """As much of the REST API as a comment needs, for pull request 12."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.comments: list[dict[str, Any]] = []
        self.head = SHA
        self.state = "open"
        self.may_write = True
        self.tokens: set[str | None] = set()

    def add(self, login: str | None, body: str | None) -> None:
        user = None if login is None else {"login": login}
        self.comments.append({"id": 1000 + len(self.comments), "user": user, "body": body})


class _Handler(BaseHTTPRequestHandler):
    server: FakeGitHub

    def do_GET(self) -> None:
        self.server.tokens.add(self.headers["Authorization"])
        if self.path == "/repos/owner/repo/pulls/12":
            self._answer(200, {"head": {"sha": self.server.head}, "state": self.server.state})
        elif found := re.fullmatch(r"/repos/owner/repo/issues/12/comments\?per_page=(\d+)&page=(\d+)", self.path):
            size, page = int(found[1]), int(found[2])
            self._answer(200, self.server.comments[size * (page - 1) : size * page])
        else:
            self._answer(404, {})

    def do_POST(self) -> None:
        if self.path != "/repos/owner/repo/issues/12/comments" or not self.server.may_write:
            self._answer(403, {})
            return
        self.server.add(BOT, self._body()["body"])
        self._answer(201, self.server.comments[-1])

    def do_PATCH(self) -> None:
        [comment] = [
            each for each in self.server.comments if self.path == f"/repos/owner/repo/issues/comments/{each['id']}"
        ]
        comment["body"] = self._body()["body"]
        self._answer(200, comment)

    def _body(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, code: int, value: Any) -> None:
        self.send_response(code)
        self.end_headers()
        self.wfile.write(json.dumps(value).encode())

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture
def github() -> Iterator[FakeGitHub]:
    with FakeGitHub() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def comment(github: FakeGitHub, *arguments: str | Path, name: str = "edgecc-report", **more: str) -> tuple[int, str]:
    """The exit code of comment.py, and what it said."""
    environment = {
        "GITHUB_API_URL": f"http://127.0.0.1:{github.server_port}", "GITHUB_REPOSITORY": "owner/repo",
        "GITHUB_SERVER_URL": "https://github.example", "TOKEN": "secret", "AUTHOR": BOT, "NAME": name, "RUN_ID": "7",
        "PULL_REQUEST": "12", "HEAD_SHA": SHA, "no_proxy": "*", **more,
    }  # fmt: skip
    answer = subprocess.run(
        [sys.executable, "-I", COMMENT, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert answer.stderr == ""
    return answer.returncode, answer.stdout


@pytest.fixture
def summary(tmp_path: Path) -> Path:
    path = tmp_path / "summary.md"
    path.write_text("**Pass: 3 passed**\n", encoding="utf-8")
    return path


def test_the_comment_is_written_once_and_then_updated(github: FakeGitHub, summary: Path) -> None:
    github.add("someone", "looks good")
    assert comment(github, summary) == (0, "")
    summary.write_text("**Fail: 1 broken**\n")
    assert comment(github, summary) == (0, "")
    others, ours = github.comments
    assert others["body"] == "looks good"
    assert ours["body"].startswith("<!-- edgecc ")
    assert "**Fail: 1 broken**" in ours["body"]
    assert "3 passed" not in ours["body"]
    assert "(https://github.example/owner/repo/actions/runs/7)" in ours["body"]
    assert github.tokens == {"Bearer secret"}


def test_a_comment_of_another_user_with_the_marker_is_not_touched(github: FakeGitHub, summary: Path) -> None:
    comment(github, summary)
    marked = github.comments.pop()["body"]
    for login in ("mallory", "github-actions", None):
        github.add(login, marked)
    github.add(BOT, f"quoted:\n{marked}")
    github.add(BOT, None)
    before = [dict(each) for each in github.comments]
    summary.write_text("new\n")
    assert comment(github, summary) == (0, "")
    assert github.comments[:-1] == before
    assert "new" in github.comments[-1]["body"]


def test_each_name_has_its_own_comment(github: FakeGitHub, summary: Path) -> None:
    for name in ("a", "b -->", "a"):
        assert comment(github, summary, name=name) == (0, "")
    assert len(github.comments) == 2
    assert len({each["body"].splitlines()[0] for each in github.comments}) == 2


@pytest.mark.parametrize("others", [99, 100, 250])
def test_the_comment_is_found_behind_many_others(github: FakeGitHub, summary: Path, others: int) -> None:
    for _ in range(others):
        github.add("someone", "+1")
    comment(github, summary)
    comment(github, summary)
    assert len(github.comments) == others + 1


def test_a_summary_that_is_too_long_is_cut(github: FakeGitHub, summary: Path) -> None:
    summary.write_text("é" * 100_000, encoding="utf-8")
    assert comment(github, summary) == (0, "")
    assert 60_000 < len(github.comments[0]["body"]) <= 65_536
    assert "(cut here)" in github.comments[0]["body"]


def test_a_token_that_may_not_write_is_a_warning_and_a_failure(github: FakeGitHub, summary: Path) -> None:
    github.may_write = False
    code, said = comment(github, summary)
    assert code == 1
    assert said == "::warning::HTTP Error 403: Forbidden\n"


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """What a fork's run left."""
    folder = tmp_path / "left"
    folder.mkdir()
    (folder / "summary.md").write_text("**Pass**\n\n| a\\_b | 1.00 µs |\n", encoding="utf-8")
    (folder / "pull-request.txt").write_text("12\n")
    return folder


def test_what_a_fork_left_is_shown_as_text(github: FakeGitHub, left: Path) -> None:
    assert comment(github, "--untrusted", left, PULL_REQUEST="") == (0, "")
    [written] = github.comments
    assert "```text\n**Pass**\n\n| a_b | 1.00 µs |\n```\n" in written["body"]
    assert comment(github, "--untrusted", left) == (0, "")
    assert len(github.comments) == 1


@pytest.mark.parametrize("number", ["", "0", "12; rm", "12\n13", "../12", "１２", "-12", "1" * 12, "12?x=1"])
def test_a_number_that_is_none_is_refused(github: FakeGitHub, left: Path, number: str) -> None:
    (left / "pull-request.txt").write_text(number, encoding="utf-8")
    code, said = comment(github, "--untrusted", left)
    assert code == 1
    assert said.startswith("::warning::pull-request.txt: ")
    assert github.tokens == set()


@pytest.mark.parametrize(("head", "state"), [("0" * 40, "open"), (SHA, "closed"), ("", "open")])
def test_a_number_of_another_pull_request_is_refused(github: FakeGitHub, left: Path, head: str, state: str) -> None:
    github.head, github.state = head, state
    code, said = comment(github, "--untrusted", left, HEAD_SHA=head and SHA)
    assert code == 1
    assert "not open or not at the commit that ran" in said
    assert github.comments == []


def test_a_number_of_no_pull_request_is_refused(github: FakeGitHub, left: Path) -> None:
    (left / "pull-request.txt").write_text("13")
    assert comment(github, "--untrusted", left) == (1, "::warning::HTTP Error 404: Not Found\n")


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a\x00b", b"\x1b[31m", "\u202e".encode(), b"x" * 200_001])
def test_a_summary_that_is_no_short_text_is_refused(github: FakeGitHub, left: Path, content: bytes) -> None:
    (left / "summary.md").write_bytes(content)
    code, said = comment(github, "--untrusted", left)
    assert code == 1
    assert said.startswith("::warning::summary.md: expected ")
    assert github.comments == []


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "nothing"])
def test_only_a_regular_file_is_read(github: FakeGitHub, left: Path, tmp_path: Path, kind: str) -> None:
    path = left / "summary.md"
    path.unlink()
    if kind == "link":
        (tmp_path / "secret").write_text("secret")
        path.symlink_to(tmp_path / "secret")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    code, said = comment(github, "--untrusted", left)
    assert code == 1
    assert said.startswith("::warning::summary.md: expected a file")
    assert github.comments == []


def load_comment() -> ModuleType:
    spec = importlib.util.spec_from_file_location("edgecc_action_comment", COMMENT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@given(text=st.text(st.sampled_from("`\n\\~ a@#[]")))
def test_no_text_closes_its_fence(text: str) -> None:
    opening, *lines = load_comment().as_code(text).split("\n")
    fence = opening.removesuffix("text")
    assert set(fence) == {"`"}
    closing = [line for line in lines if re.fullmatch(rf" {{0,3}}`{{{len(fence)},}} *", line)]
    assert closing == [fence] == lines[-1:]
