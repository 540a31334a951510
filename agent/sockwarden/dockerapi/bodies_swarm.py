"""The Engine API's body of a swarm service, as a table.

Owns the fields of ``POST /services/create`` and ``/services/{id}/update``; names are those of moby
api/types/swarm at API 1.56, with what engines since 17.03 read besides. Must hold data only.
"""

from __future__ import annotations

from typing import Final

from sockwarden.dockerapi.bodies_schema import LABELS, STRINGS, TEXT, Kind, ListOf, Struct
from sockwarden.dockerapi.bodies_tables import EMPTY, HEALTH, MOUNTS, ULIMITS

_REFERENCE_FILE: Final = Struct("Name UID GID Mode")

CONTAINER_SPEC: Final = Struct(
    "Hostname Dir User Init StopSignal TTY OpenStdin ReadOnly StopGracePeriod Isolation OomScoreAdj",
    {
        "Image": TEXT,
        "Mounts": MOUNTS,
        "Labels": LABELS,
        "Command": STRINGS,
        "Args": STRINGS,
        "Env": STRINGS,
        "Groups": STRINGS,
        "Hosts": STRINGS,
        "Privileges": Struct(
            "NoNewPrivileges",
            {
                "CredentialSpec": Struct("Config File Registry"),
                "SELinuxContext": Struct("Disable User Role Type Level"),
                "Seccomp": Struct("Mode Profile"),
                "AppArmor": Struct("Mode"),
            },
        ),
        "Healthcheck": HEALTH,
        "DNSConfig": Struct("", dict.fromkeys(["Nameservers", "Search", "Options"], STRINGS)),
        "Secrets": ListOf(Struct("SecretID SecretName", {"File": _REFERENCE_FILE})),
        "Configs": ListOf(Struct("ConfigID ConfigName", {"File": _REFERENCE_FILE, "Runtime": EMPTY})),
        "Sysctls": LABELS,
        "CapabilityAdd": STRINGS,
        "CapabilityDrop": STRINGS,
        "Ulimits": ULIMITS,
    },
    aliases={"HealthCheck": "Healthcheck"},  # as documented; the engine folds the case
)

_GENERIC: Final[dict[str, Kind]] = {
    "GenericResources": ListOf(
        Struct("", dict.fromkeys(["NamedResourceSpec", "DiscreteResourceSpec"], Struct("Kind Value"))),
    ),
}
_AMOUNTS: Final = Struct("NanoCPUs MemoryBytes Pids", _GENERIC)

_NETWORKS: Final = ListOf(Struct("Target", {"Aliases": STRINGS, "DriverOpts": LABELS}))

_PLUGIN_SPEC: Final = Struct(
    "name disabled",
    {
        "remote": TEXT,
        "privileges": ListOf(Struct("name description", {"value": STRINGS})),
        "env": STRINGS,
    },
    # The API's documentation spells them thus, and knows a field that no engine reads.
    aliases={"Name": "name", "Remote": "remote", "Disabled": "disabled"},
    ignored="PluginPrivilege",
)

_TASK: Final = Struct(
    "ForceUpdate",
    {
        "ContainerSpec": CONTAINER_SPEC,
        "PluginSpec": _PLUGIN_SPEC,
        "NetworkAttachmentSpec": Struct("ContainerID"),
        "Resources": Struct("SwapBytes MemorySwappiness", {"Limits": _AMOUNTS, "Reservations": _AMOUNTS}),
        "RestartPolicy": Struct("Condition Delay MaxAttempts Window"),
        "Placement": Struct(
            "MaxReplicas",
            {
                "Constraints": STRINGS,
                "Preferences": ListOf(Struct("", {"Spread": Struct("SpreadDescriptor")})),
                "Platforms": ListOf(Struct("Architecture OS")),
            },
        ),
        "Networks": _NETWORKS,
        "LogDriver": Struct("Name", {"Options": LABELS}),
        "Runtime": TEXT,
    },
)

_ROLLOUT: Final = Struct("Parallelism Delay FailureAction Monitor MaxFailureRatio Order")
_JOB: Final = Struct("MaxConcurrent TotalCompletions")

SERVICE: Final = Struct(
    "Name",
    {
        "Labels": LABELS,
        "TaskTemplate": _TASK,
        "Mode": Struct(
            "",
            {"Replicated": Struct("Replicas"), "Global": EMPTY, "ReplicatedJob": _JOB, "GlobalJob": EMPTY},
            # docker-py sends the mode under the name that its caller gave (docker/types/services.py).
            aliases={"replicated": "Replicated", "global": "Global"},
        ),
        "UpdateConfig": _ROLLOUT,
        "RollbackConfig": _ROLLOUT,
        "Networks": _NETWORKS,
        "EndpointSpec": Struct(
            "Mode",
            {"Ports": ListOf(Struct("Name Protocol TargetPort PublishedPort PublishMode"))},
        ),
    },
)
