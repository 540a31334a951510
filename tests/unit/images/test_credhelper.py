import asyncio
import os
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sockwarden.errors import RegistryError
from sockwarden.images.credhelper import MAX_HELPER_BYTES, CredentialHelper, _Run
from sockwarden.images.secret import Basic, IdentityToken, Secret

PATIENT_SECONDS = 60.0
Helper = Callable[..., CredentialHelper]


@pytest.fixture
def helper(tmp_path: Path) -> Helper:
    """Write docker-credential-x with these lines of shell, and return what runs it."""

    def make(script: str, seconds: float = PATIENT_SECONDS) -> CredentialHelper:
        program = tmp_path / "docker-credential-x"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        return CredentialHelper("/nowhere", f"{tmp_path}:/usr/bin:/bin", seconds)

    return make


def get(helper: CredentialHelper, server: str = "reg.example") -> Secret | None:
    return asyncio.run(helper.get("x", server))


def fails(helper: CredentialHelper) -> str:
    with pytest.raises(RegistryError) as caught:
        get(helper)
    return str(caught.value)


def test_the_helper_is_asked_for_the_server(helper, tmp_path):
    script = f"""cat > {tmp_path}/told; echo "$@" > {tmp_path}/how; echo '{{"Username":"ci","Secret":"pw"}}'"""
    assert get(helper(script), "reg.example:5000") == Basic("ci", "pw")
    assert (tmp_path / "told").read_text() == "reg.example:5000"
    assert (tmp_path / "how").read_text() == "get\n"


def test_the_user_token_means_an_identity_token(helper):
    assert get(helper("""echo '{"Username":"<token>","Secret":"t"}'""")) == IdentityToken("t")


@pytest.mark.parametrize(
    "script",
    [
        "echo credentials not found in native keychain; exit 1",
        """echo '{"Username":"ci","Secret":""}'""",
        """echo '{"Username":"","Secret":"pw"}'""",
    ],
)
def test_a_helper_that_has_nothing_gives_none(helper, script):
    assert get(helper(script)) is None


def test_a_helper_that_never_reads_may_answer(helper):
    assert get(helper("""exec <&-; echo '{"Username":"ci","Secret":"pw"}'"""), "x" * 4000) == Basic("ci", "pw")


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("echo hunter2; echo hunter2 >&2; exit 3", "docker-credential-x failed with status 3"),
        ("echo hunter2", "docker-credential-x did not answer with a Username and a Secret"),
        ("echo []", "docker-credential-x did not answer with a Username and a Secret"),
        ("""echo '{"Username":"ci","Secret":1}'""", "docker-credential-x did not answer with a Username and a Secret"),
        ("kill -9 $$", "docker-credential-x failed with status -9"),
        (
            f"head -c {MAX_HELPER_BYTES + 1} /dev/zero",
            f"docker-credential-x answered with more than {MAX_HELPER_BYTES}",
        ),
        ("yes hunter2", f"docker-credential-x answered with more than {MAX_HELPER_BYTES}"),
    ],
)
def test_a_fault_of_the_helper_is_told_without_its_words(helper, script, text):
    assert fails(helper(script)).removesuffix(" bytes") == text


def test_a_helper_that_is_not_installed_is_named(tmp_path):
    assert fails(CredentialHelper(search=str(tmp_path))) == f"docker-credential-x is not installed in {tmp_path}"


def test_a_program_that_cannot_be_run_is_told_in_the_systems_words(helper, tmp_path):
    made = helper("")
    (tmp_path / "docker-credential-x").write_text("#!/nowhere/sh\n")
    assert fails(made) == "docker-credential-x cannot be run: No such file or directory"


@pytest.mark.parametrize("script", ["exec sleep 600", "sleep 600 & wait", "exec >&-; exec sleep 600"])
def test_a_helper_that_does_not_end_is_ended(helper, script):
    assert fails(helper(script, 0.2)) == "docker-credential-x did not end within 0.2 seconds"


def test_nothing_that_a_helper_started_is_left(helper, tmp_path):
    os.mkfifo(tmp_path / "alive")
    made = helper(f"cat {tmp_path}/alive & exec sleep 600", 0.2)
    assert "did not end" in fails(made)
    with pytest.raises(OSError, match="No such device or address"):  # nobody reads any more
        for _ in range(1000):
            os.close(os.open(tmp_path / "alive", os.O_WRONLY | os.O_NONBLOCK))
            time.sleep(0.01)  # the kernel ends a process when it can


def test_the_environment_is_minimal(helper, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("LD_PRELOAD", "")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    get(helper(f"env > {tmp_path}/seen; pwd >> {tmp_path}/seen; echo credentials not found in native keychain; exit 1"))
    seen = set((tmp_path / "seen").read_text().split("\n"))
    assert "HTTPS_PROXY=http://proxy.example:3128" in seen
    assert {"HOME=/nowhere", "LANG=C.UTF-8", "/"} <= seen
    assert {line.partition("=")[0] for line in seen if "=" in line} - {"_", "PWD", "OLDPWD", "SHLVL"} <= {
        *("PATH", "HOME", "LANG", "HTTPS_PROXY"),
        *("HTTP_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
    }


def test_the_event_loop_goes_on_meanwhile(helper, tmp_path):
    os.mkfifo(tmp_path / "gate")
    made = helper(f"""read line < {tmp_path}/gate; echo '{{"Username":"ci","Secret":"pw"}}'""")

    async def both() -> Any:
        asked = asyncio.create_task(made.get("x", "reg.example"))
        number = -1
        while number < 0:
            await asyncio.sleep(0)
            try:
                number = os.open(tmp_path / "gate", os.O_WRONLY | os.O_NONBLOCK)
            except OSError:
                continue
        os.write(number, b"go\n")
        os.close(number)
        return await asked

    assert asyncio.run(both()) == Basic("ci", "pw")


def test_a_question_that_is_given_up_ends_its_helper(helper, tmp_path):
    os.mkfifo(tmp_path / "alive")
    made = helper(f"exec cat {tmp_path}/alive")

    async def give_up() -> None:
        asked = asyncio.create_task(made.get("x", "reg.example"))
        while True:
            await asyncio.sleep(0)
            try:
                number = os.open(tmp_path / "alive", os.O_WRONLY | os.O_NONBLOCK)
            except OSError:
                continue
            break
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        os.close(number)

    before, threads = time.monotonic(), threading.active_count()
    asyncio.run(give_up())  # waits for the threads of the loop
    assert time.monotonic() - before < PATIENT_SECONDS / 2
    assert threading.active_count() == threads


def test_what_is_stopped_before_it_began_is_never_started(tmp_path):
    run = _Run(["/bin/touch", str(tmp_path / "started")], b"", {}, PATIENT_SECONDS)
    run.stop()
    with pytest.raises(TimeoutError):
        run.to_end()
    assert not (tmp_path / "started").exists()


def test_no_helper_is_looked_for_in_the_agents_own_path(tmp_path, monkeypatch):
    program = tmp_path / "docker-credential-sockwarden-test"
    program.write_text("#!/bin/sh\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RegistryError, match="not installed in /usr/local/sbin"):
        asyncio.run(CredentialHelper().get("sockwarden-test", "reg.example"))
