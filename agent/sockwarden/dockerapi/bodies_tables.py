"""The Engine API's request bodies for containers, exec, volumes and networks, as tables.

Owns which fields each body has; names are those of moby api/types at API 1.56, with what engines since 17.03 read
besides. Must hold data only. A field that is judged has a kind of its own; ``scalars`` are passed on unread.
"""

from __future__ import annotations

from typing import Final

from sockwarden.dockerapi.bodies_schema import (
    ARGV,
    FLAG,
    LABELS,
    SCALAR,
    STRINGS,
    TEXT,
    Kind,
    ListOf,
    MapOf,
    Misplaced,
    Struct,
)

NUMBERS: Final = ListOf(SCALAR)
EMPTY: Final = Struct()

# docker-modem (dockerode) sends its caller's options as the body: these keys are its own, not the engine's.
_MODEM: Final = "_query abortSignal"

HEALTH: Final = Struct("Interval Timeout StartPeriod StartInterval Retries NoWait", {"Test": STRINGS})

ULIMITS: Final = ListOf(Struct("Name Hard Soft"))

MOUNT: Final = Struct(
    "ReadOnly Consistency",
    {
        "Type": TEXT,
        "Source": TEXT,
        "Target": TEXT,
        "BindOptions": Struct(
            "Propagation NonRecursive CreateMountpoint ReadOnlyNonRecursive ReadOnlyForceRecursive",
        ),
        "VolumeOptions": Struct(
            "NoCopy Subpath",
            {"Labels": LABELS, "DriverConfig": Struct("", {"Name": TEXT, "Options": LABELS})},
        ),
        "ImageOptions": Struct("Subpath"),
        "TmpfsOptions": Struct("SizeBytes Mode", {"Options": ListOf(STRINGS)}),
        "ClusterOptions": EMPTY,
    },
)
MOUNTS: Final = ListOf(MOUNT)

_THROTTLES: Final = ListOf(Struct("Path Rate"))

_RESOURCE_SCALARS: Final = """
    CpuShares Memory NanoCpus CgroupParent BlkioWeight CpuPeriod CpuQuota CpuRealtimePeriod CpuRealtimeRuntime
    CpusetCpus CpusetMems DiskQuota KernelMemory KernelMemoryTCP MemoryReservation MemorySwap MemorySwappiness
    OomKillDisable PidsLimit CpuCount CpuPercent IOMaximumIOps IOMaximumBandwidth
"""
_RESOURCES: Final[dict[str, Kind]] = {
    "BlkioWeightDevice": ListOf(Struct("Path Weight")),
    "BlkioDeviceReadBps": _THROTTLES,
    "BlkioDeviceWriteBps": _THROTTLES,
    "BlkioDeviceReadIOps": _THROTTLES,
    "BlkioDeviceWriteIOps": _THROTTLES,
    "Devices": ListOf(Struct("", {"PathOnHost": TEXT, "PathInContainer": TEXT, "CgroupPermissions": TEXT})),
    "DeviceCgroupRules": STRINGS,
    "DeviceRequests": ListOf(
        Struct(
            "Driver Count",
            {"DeviceIDs": STRINGS, "Capabilities": ListOf(STRINGS), "Options": LABELS},
        ),
    ),
    "Ulimits": ULIMITS,
}
# The API's documentation up to 1.40 writes NanoCPUs, and so do clients made from it; the engine folds the case.
_RESOURCE_ALIASES: Final = {"NanoCPUs": "NanoCpus"}

_RESTART: Final = Struct("Name MaximumRetryCount")

HOST_CONFIG: Final = Struct(
    _RESOURCE_SCALARS
    + """
    ContainerIDFile AutoRemove OomScoreAdj PublishAllPorts ReadonlyRootfs ShmSize Isolation Init Cgroup
    """,
    {
        "Binds": STRINGS,
        "Mounts": MOUNTS,
        "VolumesFrom": STRINGS,
        "VolumeDriver": TEXT,
        "Privileged": FLAG,
        "PidMode": TEXT,
        "IpcMode": TEXT,
        "NetworkMode": TEXT,
        "UTSMode": TEXT,
        "UsernsMode": TEXT,
        "CgroupnsMode": TEXT,
        "Runtime": TEXT,
        "CapAdd": STRINGS,
        "CapDrop": STRINGS,
        "Capabilities": STRINGS,  # 19.03
        "SecurityOpt": STRINGS,
        "MaskedPaths": STRINGS,
        "ReadonlyPaths": STRINGS,
        "LogConfig": Struct("Type", {"Config": LABELS}),
        "PortBindings": MapOf(ListOf(Struct("HostIp HostPort"))),
        "RestartPolicy": _RESTART,
        "ConsoleSize": NUMBERS,
        "Annotations": LABELS,
        "Dns": STRINGS,
        "DnsOptions": STRINGS,
        "DnsSearch": STRINGS,
        "ExtraHosts": STRINGS,
        "GroupAdd": STRINGS,
        "Links": STRINGS,
        "StorageOpt": LABELS,
        "Tmpfs": LABELS,
        "Sysctls": LABELS,
        **_RESOURCES,
    },
    ignored="LxcConf",  # gone since 1.8; docker-py and docker-java can still send it
    aliases=_RESOURCE_ALIASES,
)

_ENDPOINT: Final = Struct(
    """
    GwPriority NetworkID EndpointID Gateway IPAddress MacAddress IPPrefixLen IPv6Gateway GlobalIPv6Address
    GlobalIPv6PrefixLen
    """,
    {
        "IPAMConfig": Struct("IPv4Address IPv6Address", {"LinkLocalIPs": STRINGS}),
        "Links": STRINGS,
        "Aliases": STRINGS,
        "DriverOpts": LABELS,
        "DNSNames": STRINGS,
    },
)

_CONFIG_SCALARS: Final = """
    Hostname Domainname User AttachStdin AttachStdout AttachStderr Tty OpenStdin StdinOnce ArgsEscaped WorkingDir
    NetworkDisabled MacAddress StopSignal StopTimeout
"""
_CONFIG: Final[dict[str, Kind]] = {
    "Image": TEXT,
    "Volumes": MapOf(EMPTY),
    "ExposedPorts": MapOf(EMPTY),
    "Env": STRINGS,
    "Cmd": ARGV,
    "Entrypoint": ARGV,
    "Shell": ARGV,
    "Healthcheck": HEALTH,
    "OnBuild": STRINGS,
    "Labels": LABELS,
}

_LEGACY: Final = Misplaced("belongs into HostConfig; some engines also read it here")

CREATE: Final = Struct(
    _CONFIG_SCALARS,
    {
        # Docker up to 27 embeds HostConfig in the request (runconfig/config_unix.go).
        **dict.fromkeys([*HOST_CONFIG.fields, "Cpuset"], _LEGACY),
        **_CONFIG,
        "HostConfig": HOST_CONFIG,
        "NetworkingConfig": Struct("", {"EndpointsConfig": MapOf(_ENDPOINT)}),
    },
    # name and platform belong into the query, but dockerode leaves them in the body too; the rest is docker-java's.
    ignored=_MODEM + " name platform PortSpecs authConfig",
)

COMMIT: Final = Struct(_CONFIG_SCALARS, _CONFIG, ignored=_MODEM)

UPDATE: Final = Struct(
    _RESOURCE_SCALARS,
    {**_RESOURCES, "RestartPolicy": _RESTART},
    # Documented and sent, but not a field of the engine's structure: Init. The other one is docker-java's.
    ignored=_MODEM + " containerId Init",
    aliases=_RESOURCE_ALIASES,
)

EXEC_CREATE: Final = Struct(
    "Tty AttachStdin AttachStdout AttachStderr DetachKeys WorkingDir Detach",
    {"User": TEXT, "Privileged": FLAG, "Env": STRINGS, "Cmd": ARGV, "ConsoleSize": NUMBERS},
    ignored=_MODEM + " Container containerId",  # docker-py before 2, docker-java
)

EXEC_START: Final = Struct(
    "",
    {"Detach": FLAG, "Tty": FLAG, "ConsoleSize": NUMBERS},
    ignored=_MODEM + " hijack stdin execId",  # dockerode's options, docker-java
)

VOLUME_CREATE: Final = Struct(
    "",
    {
        "Name": TEXT,
        "Driver": TEXT,
        "DriverOpts": LABELS,
        "Labels": LABELS,
        "ClusterVolumeSpec": Struct(
            "Group Availability",
            {
                "AccessMode": Struct(
                    "Scope Sharing",
                    {"MountVolume": Struct("FsType", {"MountFlags": STRINGS}), "BlockVolume": EMPTY},
                    # Documented here, read one level higher.
                    ignored="Secrets AccessibilityRequirements CapacityRange Availability",
                ),
                "AccessibilityRequirements": Struct(
                    "",
                    dict.fromkeys(["Requisite", "Preferred"], ListOf(Struct("", {"Segments": LABELS}))),
                ),
                "CapacityRange": Struct("RequiredBytes LimitBytes"),
                "Secrets": ListOf(Struct("Key Secret")),
            },
        ),
    },
    ignored=_MODEM,
)

NETWORK_CREATE: Final = Struct(
    "Name Driver Scope CheckDuplicate EnableIPv4 EnableIPv6 Internal Attachable Ingress ConfigOnly",
    {
        "IPAM": Struct(
            "Driver",
            {
                "Options": LABELS,
                "Config": ListOf(Struct("Subnet IPRange Gateway", {"AuxiliaryAddresses": LABELS})),
            },
        ),
        "ConfigFrom": Struct("Network"),
        "Options": LABELS,
        "Labels": LABELS,
    },
    ignored=_MODEM,
)

NETWORK_CONNECT: Final = Struct(
    "",
    {"Container": TEXT, "EndpointConfig": _ENDPOINT},
    ignored=_MODEM + " networkId",  # docker-java
)
