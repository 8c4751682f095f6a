"""Keeps one comment with edgecc's summary in a pull request: written once, then updated.

Only the standard library: it runs where edgecc is not installed. What came from a fork is taken as text: its files must
be small and printable, its number must be that of a pull request at the very commit that ran, and its summary is shown
as a block of code, in which no link, mention or image of a stranger's comes to life under this repository's name.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import stat
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

MOST_BYTES = 200_000
"""Of a fork's summary."""
MOST_CHARACTERS = 60_000
"""Of a summary in a comment; GitHub takes 65,536 in all."""
PAGE = 100
TIMEOUT_S = 30
_MARKDOWN_ESCAPE = re.compile(r"\\([\\`*_{}\[\]<>#|!~])")


class RefusedError(Exception):
    """Why there is no comment, in words that hold nothing of what came from a fork."""


class GitHub:
    """One repository's REST API."""

    def __init__(self, url: str, repository: str, token: str) -> None:
        self._root = f"{url}/repos/{repository}"
        self._headers = {
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {token}",
            "X-GitHub-Api-Version": "2022-11-28",
        }

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The answer as JSON.

        Raises:
            OSError: no answer, or one that says no.
        """
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._root}{path}", data, self._headers, method=method)  # noqa: S310
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
            return json.load(answer)

    def comments(self, number: int) -> Iterator[dict[str, Any]]:
        """Every comment on a pull request, the oldest first."""
        page = 1
        while True:
            found = self.call("GET", f"/issues/{number}/comments?per_page={PAGE}&page={page}")
            yield from found
            if len(found) < PAGE:
                return
            page += 1


def put_comment(github: GitHub, number: int, name: str, text: str, author: str) -> None:
    """Update the comment that carries this name's marker, or write one. Others' comments are never touched.

    Raises:
        OSError: GitHub did not answer, or says no.
    """
    marker = f"<!-- edgecc {hashlib.sha256(name.encode()).hexdigest()[:16]} -->"
    body = {"body": f"{marker}\n\n{text}\n"}
    for comment in github.comments(number):
        login = (comment["user"] or {}).get("login")
        if login == author and (comment["body"] or "").startswith(marker):
            github.call("PATCH", f"/issues/comments/{comment['id']}", body)
            return
    github.call("POST", f"/issues/{number}/comments", body)


def read_untrusted(path: Path, most_bytes: int) -> str:
    """Printable text of a regular file.

    Raises:
        RefusedError: it is missing, a link, too large, or not plain text.
    """
    content = _read_regular_file(path, most_bytes + 1)
    if len(content) > most_bytes:
        raise RefusedError(f"{path.name}: expected at most {most_bytes:,} bytes")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise RefusedError(f"{path.name}: expected UTF-8") from None
    if not text.replace("\n", "").isprintable():
        raise RefusedError(f"{path.name}: expected printable text")
    return text


def _read_regular_file(path: Path, most_bytes: int) -> bytes:
    def open_itself(name: str, flags: int) -> int:
        return os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK)  # no link's aim, and no wait for a pipe

    try:
        with open(path, "rb", opener=open_itself) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise RefusedError(f"{path.name}: expected a file")
            return file.read(most_bytes)
    except OSError as error:
        raise RefusedError(f"{path.name}: expected a file; {error.strerror}") from None


def checked_number(github: GitHub, text: str, head_sha: str) -> int:
    """The number of an open pull request whose head is the commit that ran.

    Raises:
        RefusedError: it is no number, or another pull request's.
        OSError: GitHub did not answer, or says no.
    """
    if not re.fullmatch(r"[1-9][0-9]{0,8}\n?", text):
        raise RefusedError("pull-request.txt: expected the number of a pull request")
    pull = github.call("GET", f"/pulls/{int(text)}")
    if not head_sha or pull["head"]["sha"] != head_sha or pull["state"] != "open":
        raise RefusedError("the pull request is not open or not at the commit that ran, so there is no comment")
    return int(text)


def as_code(text: str) -> str:
    """Text in which nothing has a meaning: a block of code whose fence the text cannot close."""
    plain = _MARKDOWN_ESCAPE.sub(r"\1", text).strip("\n")
    longest = max(map(len, re.findall("`+", plain)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{plain}\n{fence}"


def shortened(text: str) -> str:
    """As much as fits into a comment."""
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}\n\n(cut here)"


def main(arguments: list[str]) -> int:
    """Comment as the environment says; 1 if there is no comment."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("path", type=Path, help="summary.md; with --untrusted, the folder that a fork's run left")
    parser.add_argument("--untrusted", action="store_true")
    options = parser.parse_args(arguments)
    try:
        _comment(options.path, untrusted=options.untrusted)
    except (RefusedError, OSError) as error:
        sys.stdout.write(f"::warning::{error}\n")
        return 1
    return 0


def _comment(path: Path, *, untrusted: bool) -> None:
    """The environment has TOKEN, AUTHOR, NAME, RUN_ID, and PULL_REQUEST or HEAD_SHA; the rest is the runner's."""
    environment = os.environ
    repository = environment["GITHUB_REPOSITORY"]
    github = GitHub(environment["GITHUB_API_URL"], repository, environment["TOKEN"])
    if untrusted:
        number = checked_number(github, read_untrusted(path / "pull-request.txt", 16), environment["HEAD_SHA"])
        text = as_code(shortened(read_untrusted(path / "summary.md", MOST_BYTES)))
    else:
        number = int(environment["PULL_REQUEST"])
        text = shortened(path.read_text(encoding="utf-8"))
    run = f"{environment['GITHUB_SERVER_URL']}/{repository}/actions/runs/{environment['RUN_ID']}"
    text += f"\n\n[The whole report]({run})"
    put_comment(github, number, environment["NAME"], text, environment["AUTHOR"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
