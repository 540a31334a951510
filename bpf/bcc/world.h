/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The names of ../world.h where BCC compiles against the running kernel's own headers, which then
 * say where each field lies: no BTF, no relocation.
 *
 * BCC rewrites map accesses and pointer chains in its main file only, and would lose what it
 * rewrites in here. So nothing here is for it to rewrite: maps are made by the agent, which gives
 * each a number (SW_MAP_<name>, a -D option) and puts the descriptor in its place when it loads the
 * program (agent/sockwarden/kernel/compiled/bytecode.py); fields are read by explicit helper calls.
 */
#ifndef SW_BCC_WORLD_H
#define SW_BCC_WORLD_H

#include <linux/ptrace.h>
#include <linux/version.h>
#include <linux/sched.h>
#include <linux/nsproxy.h>
#include <linux/ns_common.h>
#include <linux/pid_namespace.h>
#include <linux/cgroup.h>
#include <linux/kernfs.h>
#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/binfmts.h>
#include <net/sock.h>
#include <net/af_unix.h>

/* Types, sizes and numbers of entries are those of maps.h as guard.bpf.o carries them. */
#define SW_MAP(map, key_type, value_type)                                                          \
	_Static_assert(sizeof(key_type) == SW_MAP_KEY_##map, "key of " #map);                      \
	_Static_assert(sizeof(value_type) == SW_MAP_VALUE_##map, "value of " #map)

#define SW_HASH(map, key, value, entries)     SW_MAP(map, key, value)
#define SW_LRU_HASH(map, key, value, entries) SW_MAP(map, key, value)
#define SW_ARRAY(map, value, entries)	      SW_MAP(map, __u32, value)
#define SW_PERCPU_ARRAY(map, value, entries)  SW_MAP(map, __u32, value)
#define SW_RING(map, bytes)		      _Static_assert(SW_MAP_##map, "ring " #map)

/* The 1 is BPF_PSEUDO_MAP_FD: the loading process replaces the number by a map's descriptor. */
#define SW_DESCRIPTOR(map) bpf_pseudo_fd(1, SW_MAP_##map)

#define SW_LOOKUP(map, key) bpf_map_lookup_elem_(SW_DESCRIPTOR(map), (void *)(key))
#define SW_UPDATE(map, key, value)                                                                 \
	bpf_map_update_elem_(SW_DESCRIPTOR(map), (void *)(key), (void *)(value), BPF_ANY)
#define SW_DELETE(map, key) bpf_map_delete_elem_(SW_DESCRIPTOR(map), (void *)(key))

#define SW_RESERVE(ring, type)                                                                     \
	((type *)bpf_ringbuf_reserve((void *)SW_DESCRIPTOR(ring), sizeof(type), 0))
#define SW_SUBMIT(context, ring, event) (bpf_ringbuf_submit(event, 0), 0)

/* One step of a chain. The helper leaves zeroes where it cannot read. */
#define SW_STEP(source, field)                                                                     \
	({                                                                                         \
		typeof((source)->field) sw_step;                                                   \
		bpf_probe_read_kernel((void *)&sw_step, sizeof(sw_step), &(source)->field);        \
		sw_step;                                                                           \
	})

#define SW_READ_1(s, a)			  SW_STEP(s, a)
#define SW_READ_2(s, a, b)		  SW_STEP(SW_READ_1(s, a), b)
#define SW_READ_3(s, a, b, c)		  SW_STEP(SW_READ_2(s, a, b), c)
#define SW_READ_4(s, a, b, c, d)	  SW_STEP(SW_READ_3(s, a, b, c), d)
#define SW_READ_COUNT(a, b, c, d, n, ...) SW_READ_##n
#define SW_READ_PICK(...)		  SW_READ_COUNT(__VA_ARGS__, 4, 3, 2, 1)
#define SW_READ(source, ...)		  SW_READ_PICK(__VA_ARGS__)(source, __VA_ARGS__)

#define SW_READ_INTO(destination, address)                                                         \
	bpf_probe_read_kernel(destination, sizeof(*(destination)), address)
#define SW_READ_TEXT(destination, address)                                                         \
	bpf_probe_read_kernel_str(destination, sizeof(destination), address)

/* Asked only of what namespaces carry beyond their inum; their number for good is not read here. */
#define SW_HAS(field)		0
#define SW_OFFSET(type, member) offsetof(type, member)

#define SW_NOW()  bpf_ktime_get_boot_ns()
#define SW_KILL() bpf_send_signal(SW_SIGKILL)
#define SW_LOOP	  _Pragma("clang loop unroll(disable)")

#ifndef barrier_var
#define barrier_var(var) asm volatile("" : "+r"(var))
#endif

/*
 * No installed header has struct mnt_namespace (it is in fs/mount.h): its beginning. What SW_HAS
 * denies must still have a name.
 */
struct mnt_namespace {
#if LINUX_VERSION_CODE < KERNEL_VERSION(5, 11, 0)
	atomic_t count; /* moved into struct ns_common by Linux 5.11 */
#endif
	struct ns_common ns;
	__u64 seq; /* not its place */
};
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 18, 0)
#define ns_id inum
#endif

#endif
