/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The contract between the BPF objects and the agent: every byte that crosses.
 *
 * agent/sockwarden/abi.py mirrors this file; a test compares both, offset by offset, through the
 * BTF of layout.bpf.o. Keep in sync. Fields are naturally aligned and never packed: a packed struct
 * makes clang store byte by byte. Padding is explicit and written as zero, so that no kernel memory
 * leaks.
 *
 * Words: a tgid is what user space calls a pid (the process), a pid is a thread. All ids are those
 * of the initial pid and user namespace. Times count nanoseconds since boot, suspend included.
 */
#ifndef SW_ABI_H
#define SW_ABI_H

#include <linux/types.h>

#define SW_ABI_VERSION 2

/* Sizes. sun_path has 108 bytes (unix(7)) and need not end with NUL. */
#define SW_COMM_BYTES	     16
#define SW_SUN_PATH_BYTES    108
#define SW_CGROUP_PATH_BYTES 256
#define SW_FILENAME_BYTES    128

/* How many levels the decision climbs from the leaf cgroup to the root. Containers in containers in
 * Kubernetes take about 15; who is nested deeper is denied, for nobody can say what is above. */
#define SW_CGROUP_CLIMB 32

/*
 * Records that the processes of one cgroup may send in one second; what is over is counted and not
 * told. A ring holds about 2,000 connects, so it takes more than 30 cgroups at once to fill it
 * before the agent looks; and a build that is refused tries some times a second, not 64. Cgroups
 * and processes come in larger waves, by systemd or the engine alone when a host starts.
 */
#define SW_REPORTS_PER_SECOND 64
#define SW_LIFE_PER_SECOND    256

/* Default map sizes; the loader may set others before it loads. */
#define SW_GUARDED_ENTRIES  1024
#define SW_VERDICT_ENTRIES  16384
#define SW_IDENTITY_ENTRIES 8192
#define SW_BUDGET_ENTRIES   1024
#define SW_RING_BYTES	    (512 * 1024)

enum sw_kind {
	SW_KIND_CONNECT = 1,	 /* struct sw_connect_event */
	SW_KIND_CGROUP_MADE = 2, /* struct sw_cgroup_event */
	SW_KIND_CGROUP_GONE = 3, /* struct sw_cgroup_event */
	SW_KIND_INIT_BORN = 4,	 /* struct sw_process_event: pid 1 of a new pid namespace */
	SW_KIND_INIT_EXEC = 5,	 /* struct sw_process_event: that process became its program */
	SW_KIND_INIT_EXIT = 6,	 /* struct sw_process_event: the namespace is over */
	SW_KIND_MAX = 7,
};

/* Which program saw a connect(). */
enum sw_source {
	SW_SOURCE_FMOD_RET = 1,
	SW_SOURCE_LSM = 2,
	SW_SOURCE_KPROBE = 3,
	SW_SOURCE_LISTENER = 4, /* the listening socket was woken: the object is known */
	SW_SOURCE_SYSCALL = 5,	/* the text that the caller wrote: the object is not known */
	SW_SOURCE_RECEIVE = 6,	/* no connect(): a connection was handed over */
	SW_SOURCE_MAX = 7,
};

enum sw_class {
	SW_CLASS_NONE = 0,	/* not guarded */
	SW_CLASS_ENGINE = 1,	/* an engine's own socket */
	SW_CLASS_HOST_ONLY = 2, /* containerd, buildkitd, podman: never for a container */
	SW_CLASS_PUBLIC = 3,	/* the gateway's socket: verdict by container */
	SW_CLASS_CANARY = 4,	/* the dummy that proves a rung: nobody but the agent */
	SW_CLASS_MAX = 5,
};

enum sw_verdict {
	SW_VERDICT_NONE = 0, /* nobody was asked */
	SW_VERDICT_ALLOW = 1,
	SW_VERDICT_DENY = 2,
	SW_VERDICT_MAX = 3,
};

enum sw_action {
	SW_ACTION_AUDIT = 0, /* count and report, let pass */
	SW_ACTION_BLOCK = 1,
	SW_ACTION_KILL = 2, /* block, and SIGKILL */
	SW_ACTION_MAX = 3,
};

/* Index of sw_guard_stats. Counters are per CPU, so that no flood of events can hide them. */
enum sw_guard_stat {
	SW_GUARD_SEEN = 0,    /* stream connects that reached a program */
	SW_GUARD_OWN = 1,     /* by the agent itself */
	SW_GUARD_SKIPPED = 2, /* abstract names, other families, the agent's own surroundings */
	SW_GUARD_MATCHED = 3, /* to a guarded socket */
	SW_GUARD_ALLOWED = 4,
	SW_GUARD_DENIED = 5,
	SW_GUARD_REPORTED = 6,
	SW_GUARD_DROPPED = 7, /* the ring was full: an event is lost, the decision is not */
	SW_GUARD_FAULTS = 8,  /* user memory or kernel memory that could not be read */
	SW_GUARD_HANDED = 9,  /* hand-overs of a connection that were denied */
	SW_GUARD_MUTED = 10,  /* over its cgroup's budget of records: counted, decided, not told */
	SW_GUARD_CANARY = 11, /* the canary's own connects, counted nowhere else */
	SW_GUARD_STAT_MAX = 12,
};

/* Index of sw_track_stats. */
enum sw_track_stat {
	SW_TRACK_SEEN = 0,
	SW_TRACK_SKIPPED = 1, /* cgroup v1 hierarchies, processes that are no init of a namespace */
	SW_TRACK_REPORTED = 2,
	SW_TRACK_DROPPED = 3,
	SW_TRACK_MUTED = 4, /* over the acting cgroup's budget */
	SW_TRACK_STAT_MAX = 5,
};

/* Flags of struct sw_header. */
#define SW_FLAG_TRUNCATED 1 /* the text did not fit */
#define SW_FLAG_REFUSED	  2 /* the call failed with EPERM */
#define SW_FLAG_KILLED	  4 /* SIGKILL was sent at once */

struct sw_header {
	__u32 abi_version; /* SW_ABI_VERSION */
	__u32 kind;	   /* enum sw_kind */
	__u32 size;	   /* of the whole record */
	__u32 flags;
	__u64 time_ns;
};

/* A process, as the kernel knows it at that instant. */
struct sw_actor {
	__u64 cgroup_id; /* leaf in the v2 tree; equals st_ino of its directory */
	__u64 start_ns;	 /* start of the thread group leader */
	__u64 mnt_id;	 /* of the mount namespace, never used again; 0 if the kernel keeps none */
	__u32 tgid;
	__u32 pid;
	__u32 uid;
	__u32 gid;
	__u32 pid_ns;
	__u32 mnt_ns;
	__u32 ns_pid;	/* tgid as its own innermost pid namespace counts */
	__u32 ns_level; /* depth of that namespace; 0 is the host */
	char comm[SW_COMM_BYTES];
};

struct sw_connect_event {
	struct sw_header header;
	struct sw_actor actor;
	__u64 inode;	    /* of the listener's file; 0 if only the text is known */
	__u32 device;	    /* kernel encoding: major << 20 | minor */
	__u32 socket_class; /* enum sw_class */
	__u32 verdict;	    /* enum sw_verdict */
	__u32 source;	    /* enum sw_source */
	__u32 path_bytes;   /* length of path as the caller gave it; 0 if the object is known */
	char path[SW_SUN_PATH_BYTES];
};

struct sw_cgroup_event {
	struct sw_header header;
	struct sw_actor actor; /* who made or removed it */
	__u64 cgroup_id;
	__u32 level;
	__u32 path_bytes; /* without the NUL */
	char path[SW_CGROUP_PATH_BYTES];
};

struct sw_process_event {
	struct sw_header header;
	struct sw_actor actor; /* the init process of the namespace */
	__u32 parent_tgid;     /* who forked it; 0 for exec and exit */
	__u32 filename_bytes;  /* without the NUL */
	char filename[SW_FILENAME_BYTES];
};

/*
 * Key of sw_guarded. generation is that of the publication: the agent writes all entries of the
 * next one, then flips sw_config.generation, then removes the old ones after a grace period.
 */
struct sw_socket_key {
	__u64 inode;
	__u32 device;
	__u32 generation;
};

/* Key of sw_verdicts; the value is an enum sw_verdict as __u32. */
struct sw_verdict_key {
	__u64 cgroup_id;
	__u32 socket_class;
	__u32 generation;
};

/* The one entry of sw_config; written by the agent only. */
struct sw_config {
	__u64 agent_start_ticks; /* with agent_tgid: pid reuse after the agent's death gains nothing
				  */
	__u64 agent_cgroup_id;
	__u32 agent_tgid;
	__u32 agent_mnt_ns;
	__u32 host_mnt_ns; /* of pid 1: who is in it has the host's files already */
	__u32 generation;
	__u32 action;			     /* enum sw_action */
	__u32 host_verdict[SW_CLASS_MAX];    /* for processes in host_mnt_ns; enum sw_verdict */
	__u32 default_verdict[SW_CLASS_MAX]; /* for everybody else without an entry */
	__u32 tick_ns; /* length of one tick: /proc gives start times no finer */
};

#endif
