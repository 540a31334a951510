/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The maps of guard.bpf.c. Names have at most 15 characters, the kernel's limit for object names.
 *
 * Policy lies in plain hashes, whose entries never vanish; what a flood can fill lies in LRU
 * hashes.
 */
#ifndef SW_MAPS_H
#define SW_MAPS_H

#include <linux/bpf.h>
#include "abi.h"
#include <bpf/bpf_helpers.h>

/* Which sockets are guarded: key struct sw_socket_key, value enum sw_class. Written by the agent.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SW_GUARDED_ENTRIES);
	__type(key, struct sw_socket_key);
	__type(value, __u32);
} sw_guarded SEC(".maps");

/* Verdicts by cgroup: key struct sw_verdict_key, value enum sw_verdict. Written by the agent. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SW_VERDICT_ENTRIES);
	__type(key, struct sw_verdict_key);
	__type(value, __u32);
} sw_verdicts SEC(".maps");

/* One entry of struct sw_config. Written by the agent. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sw_config);
} sw_config SEC(".maps");

/* Connectors whose connection waits for accept(): key the address of the new sock. Written here
 * only. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SW_IDENTITY_ENTRIES);
	__type(key, __u64);
	__type(value, struct sw_actor);
} sw_pending SEC(".maps");

/* Connectors by the inode of the accepted socket, as fstat() of it says. Written here, read by the
 * agent. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SW_IDENTITY_ENTRIES);
	__type(key, __u64);
	__type(value, struct sw_actor);
} sw_identity SEC(".maps");

/* Records of struct sw_connect_event. Its own ring, so that container life cannot crowd denials
 * out. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, SW_RING_BYTES);
} sw_connects SEC(".maps");

/* Counters: key enum sw_guard_stat. Written here, read by the agent. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SW_GUARD_STAT_MAX);
	__type(key, __u32);
	__type(value, __u64);
} sw_guard_stats SEC(".maps");

#endif
