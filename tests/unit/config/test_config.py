import dataclasses
from pathlib import Path

import pytest

from sockwarden.config import (
    MAX_GLOBS,
    Action,
    AuditConfig,
    ClientsConfig,
    Config,
    DaemonConfig,
    EngineConfig,
    GatewayConfig,
    GuardConfig,
    GuardMode,
    HostClients,
    MetricsConfig,
    PolicyConfig,
    RegistryConfig,
    RequiredRung,
    Takeover,
    parse_config,
)
from sockwarden.documents.address import ListenAddress
from sockwarden.errors import DocumentError, Fault
from sockwarden.model import Mode

SAMPLE = Path(__file__).parents[3] / "packaging" / "etc" / "sockwarden.toml"

NO_HOST = "the host is neither a name nor an address"
NO_DURATION = "it is not a number with a unit (ms, s, m, h, d), as in 90s or 1h30m"

FULL = """
[engine]
socket = "/srv/engine.sock"
[gateway]
listen = "unix:///srv/docker.sock"
takeover = "none"
[guard]
mode = "tracepoint"
required = "tracepoint"
pin_dir = ""
host_only = ["default", "/run/x/*.sock", "default"]
[policy]
file = "/srv/policy.json"
mode = "audit"
action = "kill"
lock = "/srv/digests.lock.json"
[metrics]
listen = "[::1]:0"
[audit]
file = "/srv/audit.log"
[clients]
host = "enforce"
[registry]
plain_http = ["Registry.example.com:5000"]
mirrors = { "docker.io" = "http://127.0.0.1:5000/", "ghcr.io" = "https://mirror.example.com/ghcr" }
refresh = "90s"
timeout = "500ms"
grace = "0s"
docker_config = "/srv/config.json"
certs_dir = "/srv/certs.d"
[daemon]
run_dir = "/srv/run"
state_dir = ""
"""


def config(text: str) -> Config:
    return parse_config(text.encode(), "f.toml")


def faults_of(text: str) -> tuple[Fault, ...]:
    with pytest.raises(DocumentError) as caught:
        config(text)
    assert all(fault.file == "f.toml" and fault.remedy for fault in caught.value.faults)
    return caught.value.faults


def places_of(text: str) -> list[tuple[int, int, str]]:
    return [(fault.line, fault.column, fault.message) for fault in faults_of(text)]


def test_every_key_is_read():
    assert config(FULL) == Config(
        engine=EngineConfig("/srv/engine.sock"),
        gateway=GatewayConfig("/srv/docker.sock", Takeover.NONE),
        guard=GuardConfig(GuardMode.TRACEPOINT, RequiredRung.TRACEPOINT, "", ("default", "/run/x/*.sock")),
        policy=PolicyConfig("/srv/policy.json", Mode.AUDIT, Action.KILL, "/srv/digests.lock.json"),
        metrics=MetricsConfig(ListenAddress("::1", 0)),
        audit=AuditConfig("/srv/audit.log"),
        clients=ClientsConfig(HostClients.ENFORCE),
        registry=RegistryConfig(
            frozenset({"registry.example.com:5000"}),
            (("docker.io", "http://127.0.0.1:5000"), ("ghcr.io", "https://mirror.example.com/ghcr")),
            90.0,
            0.5,
            0.0,
            "/srv/config.json",
            "/srv/certs.d",
        ),
        daemon=DaemonConfig("/srv/run", ""),
    )


@pytest.mark.parametrize("text", ["", "\n \n", "# nothing\n"])
def test_an_empty_file_means_the_defaults(text):
    assert config(text) == Config.default()


def test_the_sample_file_says_the_defaults():
    assert parse_config(SAMPLE.read_bytes(), "f") == Config.default()


def test_what_the_sample_file_comments_are_the_defaults():
    lines = SAMPLE.read_text(encoding="utf-8").splitlines()
    shown = config("\n".join(line.removeprefix("#") for line in lines if not line.startswith("# ")))
    plain = dataclasses.replace(shown.registry, mirrors=())
    assert shown.audit.file is not None
    assert shown.registry.mirrors
    assert dataclasses.replace(shown, audit=AuditConfig(), registry=plain) == Config.default()


def test_the_sample_file_names_every_key():
    text = SAMPLE.read_text(encoding="utf-8")
    written = {line.removeprefix("#").partition(" =")[0] for line in text.splitlines() if " = " in line}
    tables = [field.name for field in dataclasses.fields(Config)]
    parts = [getattr(Config.default(), table) for table in tables]
    keys = {field.name.removesuffix("_seconds") for part in parts for field in dataclasses.fields(part)}
    assert keys - {"mirrors"} <= written
    assert all(f"[{table}]" in text for table in [*tables, "registry.mirrors"])


@pytest.mark.parametrize(
    ("text", "socket", "listen", "run_dir"),
    [
        ("", "/run/docker.sock", "/run/docker.sock", "/run/sockwarden"),
        ("engine.socket = '/x/docker.sock'", "/x/docker.sock", "/x/docker.sock", "/x/sockwarden"),
        ("engine.socket = 'unix:///x/e.sock'", "/x/e.sock", "/x/e.sock", "/x/sockwarden-e"),
        (
            "gateway.listen = '/var/run/docker.sock'",
            "/run/docker.sock",
            "/var/run/docker.sock",
            "/run/sockwarden",
        ),
        (
            "gateway.takeover = 'handover'",
            "/run/sockwarden/engine.sock",
            "/run/docker.sock",
            "/run/sockwarden",
        ),
        (
            "[gateway]\ntakeover = 'handover'\nlisten = '/x/d.sock'",
            "/run/sockwarden/engine.sock",
            "/x/d.sock",
            "/x/sockwarden-d",
        ),
        (
            "[gateway]\ntakeover = 'none'\nlisten = '/x/d.sock'",
            "/run/docker.sock",
            "/x/d.sock",
            "/x/sockwarden-d",
        ),
    ],
)
def test_the_sockets_follow_from_one_another(text, socket, listen, run_dir):
    found = config(text)
    assert (found.engine.socket, found.gateway.listen, found.daemon.run_dir) == (socket, listen, run_dir)


@pytest.mark.parametrize(
    ("run_dir", "state_dir"),
    [
        ("/run/sockwarden", "/var/lib/sockwarden"),
        ("/var/run/sockwarden-x", "/var/lib/sockwarden-x"),
        ("/srv/sockwarden", "/srv/sockwarden-state"),
    ],
)
def test_what_is_kept_lies_where_no_other_agent_keeps_it(run_dir, state_dir):
    assert config(f"daemon.run_dir = '{run_dir}'").daemon.state_dir == state_dir


@pytest.mark.parametrize("text", ["", "off"])
def test_metrics_can_be_switched_off(text):
    assert config(f'metrics.listen = "{text}"').metrics.listen is None


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("[gatway]", 1, 2, 'unknown key "gatway"'),
        ("[gateway]\nlissen = 1", 2, 1, 'unknown key "lissen" in gateway'),
        ("[guard]\nx = 1", 2, 1, 'unknown key "x" in guard'),
        ("[[engine]]", 1, 3, "engine must be an object, not an array"),
        ("engine = 1", 1, 10, "engine must be an object, not a number"),
        ("[engine]\nsocket = 1", 2, 10, "engine.socket must be a string, not a number"),
        ("engine.socket = 2026-01-01", 1, 17, "engine.socket must be a string, not a date or time"),
        ("engine.socket = 'run/x'", 1, 17, 'engine.socket must be an absolute path, not "run/x"'),
        ("engine.socket = ''", 1, 17, 'engine.socket must be an absolute path, not ""'),
        ("engine.socket = 'tcp://h'", 1, 17, 'engine.socket must be an absolute path, not "tcp://h"'),
        ('engine.socket = "/a\\u0000"', 1, 17, 'engine.socket holds a control character: "/a\\u0000"'),
        ("policy.file = '/a/../b'", 1, 15, 'policy.file is not a plain path: "/a/../b"'),
        ("policy.file = '//a'", 1, 15, 'policy.file is not a plain path: "//a"'),
        ("policy.file = '/a/'", 1, 15, 'policy.file is not a plain path: "/a/"'),
        ("policy.file = '/'", 1, 15, 'policy.file is not a plain path: "/"'),
        ("audit.file = ''", 1, 14, 'audit.file must be an absolute path, not ""'),
        ("policy.mode = 'enforced'", 1, 15, 'unknown value of policy.mode: "enforced"'),
        ("guard.mode = 'fentry'", 1, 14, 'unknown value of guard.mode: "fentry"'),
        ("guard.pin_dir = 'pins'", 1, 17, 'guard.pin_dir must be an absolute path, not "pins"'),
        (
            "guard.host_only = ['/run/a.sock', 'b.sock']",
            1,
            35,
            '"b.sock" is not a glob of sockets: it does not start with /',
        ),
        (
            "guard.host_only = '/run/a.sock'",
            1,
            19,
            'guard.host_only must be a list of strings, not a string "/run/a.sock"',
        ),
        ("guard.required = 'auto'", 1, 18, 'unknown value of guard.required: "auto"'),
        (
            "[guard]\nmode = 'kprobe'\nrequired = 'lsm'",
            *(3, 12),
            'guard.mode = "kprobe" is weaker than guard.required = "lsm"',
        ),
        ("metrics.listen = ':9717'", 1, 18, '":9717" is not an address: the host is missing'),
        ("metrics.listen = 9717", 1, 18, "metrics.listen must be a string, not a number"),
        ("registry.plain_http = 'a'", 1, 23, 'registry.plain_http must be a list of strings, not a string "a"'),
        ("registry.plain_http = ['a b']", 1, 24, '"a b" is not the host of a registry: ' + NO_HOST),
        ("registry.mirrors.'a/b' = 'https://m'", 1, 18, '"a/b" is not the host of a registry: ' + NO_HOST),
        ("registry.mirrors.a = 1", 1, 22, "registry.mirrors.a must be a string, not a number"),
        ("registry.mirrors.a = 'm'", 1, 22, '"m" is not the URL of a mirror: it must start with http:// or https://'),
        ("registry.mirrors.a = 'http://m:80/x'", 1, 22, 'the mirror "http://m:80/x" would be asked over plain HTTP'),
        ("[registry.mirrors]\na = 'https://m'\nA = 'https://n'", 3, 1, "a has two mirrors"),
        ("registry.refresh = '59s'", 1, 20, 'registry.refresh is out of range: "59s"'),
        ("registry.refresh = '6'", 1, 20, '"6" is not a duration: ' + NO_DURATION),
        ("registry.timeout = '6m'", 1, 20, 'registry.timeout is out of range: "6m"'),
        (
            "daemon.run_dir = '/" + "x" * 80 + "'",
            1,
            18,
            f'daemon.run_dir is too long for sockets in it: "/{"x" * 79}…"',
        ),
        (
            "engine.socket = '/" + "x" * 107 + "'\n[daemon]\nrun_dir = '/r'",
            1,
            17,
            "engine.socket is too long for a socket: 108 bytes",
        ),
        (
            "[gateway]\ntakeover = 'none'",
            2,
            1,
            'with takeover = "none" gateway.listen is needed: the engine keeps its own path',
        ),
        (
            "[gateway]\ntakeover = 'none'\nlisten = '/var/run/docker.sock'",
            3,
            10,
            'with takeover = "none" gateway.listen must differ from engine.socket',
        ),
        (
            "[gateway]\ntakeover = 'handover'\nlisten = '/run/sockwarden/engine.sock'",
            3,
            10,
            'with takeover = "handover" gateway.listen must differ from engine.socket',
        ),
        (
            "engine.socket = '/run/docker.sock'\ngateway.takeover = 'handover'",
            1,
            17,
            'with takeover = "handover" the engine has left /run/docker.sock, where the gateway listens',
        ),
        ("x", 1, 2, "not TOML: Expected '=' after a key in a key/value pair at the end of the file"),
    ],
)
def test_a_fault_is_named_with_its_place(text, line, column, message):
    assert places_of(text) == [(line, column, message)]


def test_every_fault_is_found_in_one_run():
    text = "[engin]\n[gateway]\ntakeover = 'swop'\n[policy]\nfile = 'x'\nmode = 1\n[registry]\ntimeout = '1'\n"
    assert [fault.line for fault in faults_of(text)] == [1, 3, 5, 6, 8]


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("[gatway]", 'did you mean "gateway"?'),
        ("gateway.takeover = 'swop'", 'did you mean "swap"?'),
        ("policy.file = '/a//b/../c'", 'write "/a/c"'),
        ("policy.file = '//'", "write the path of a file"),
        ("registry.refresh = '1s'", "write a duration from 1m to 30d"),
        ("registry.mirrors.a = 'http://M:80'", 'use https://, or add "m:80" to registry.plain_http'),
    ],
)
def test_a_fault_says_what_to_do(text, remedy):
    assert [fault.remedy for fault in faults_of(text)] == [remedy]


def test_a_broken_path_is_the_only_fault_where_another_depends_on_it():
    assert [fault.line for fault in faults_of("engine.socket = 'x'\ngateway.listen = '/x/d.sock'")] == [1]


def test_a_run_dir_that_follows_from_a_long_socket_has_no_place_of_its_own():
    text = "engine.socket = '/" + "x" * 99 + "'"
    assert [(fault.line, fault.column) for fault in faults_of(text)] == [(0, 0)]


def test_a_mirror_over_plain_http_passes_where_its_host_is_named():
    found = config("[registry]\nplain_http = ['m:80']\nmirrors.'Docker.io' = 'http://m:80'").registry
    assert (found.mirror_of("docker.IO"), found.mirror_of("ghcr.io")) == ("http://m:80", None)


@pytest.mark.parametrize("how", [Takeover.NONE, Takeover.HANDOVER])
def test_a_gateway_on_the_engines_own_path_that_does_not_swap_cannot_exist(how):
    with pytest.raises(AssertionError):
        dataclasses.replace(Config.default(), gateway=GatewayConfig("/run/docker.sock", how))


def test_a_swap_takes_the_engines_path_and_may_have_a_second_one():
    config = parse_config(b"[engine]\nsocket = '/e/docker.sock'\n[gateway]\nlisten = '/e/second.sock'", "f")
    assert (config.public_socket, config.second_socket) == ("/e/docker.sock", "/e/second.sock")
    assert config.daemon.run_dir == "/e/sockwarden"


def test_without_a_swap_the_gateway_takes_the_path_that_it_listens_on():
    config = parse_config(b"[gateway]\nlisten = '/e/gateway.sock'\ntakeover = 'none'", "f")
    assert (config.public_socket, config.second_socket) == ("/e/gateway.sock", None)


def test_more_globs_than_the_limit_are_a_fault_at_the_first_that_is_too_much():
    globs = [f"/run/{number}.sock" for number in range(MAX_GLOBS + 1)]
    assert places_of(f"guard.host_only = {globs}")[0][2] == "guard.host_only has 65 items; the limit is 64"


def test_an_empty_list_of_globs_guards_none():
    assert config("guard.host_only = []").guard.host_only == ()
