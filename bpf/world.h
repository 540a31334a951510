/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the decision code asks of the world that it is compiled in, and nothing else.
 *
 * There are two: CO-RE objects, built once and relocated by libbpf to the running kernel (this
 * file), and BCC, which compiles on the host against the kernel's own headers (SW_BCC is defined;
 * bcc/world.h defines the same names). actor.h, maps.h, report.h, decide.h and identity.h use these
 * names only, and no helper or struct that only one of the worlds has.
 *
 *   SW_HASH, SW_LRU_HASH, SW_ARRAY, SW_PERCPU_ARRAY, SW_RING   define a map
 *   SW_LOOKUP, SW_UPDATE, SW_DELETE                            use it
 *   SW_RESERVE, SW_SUBMIT                                      send a record
 *   SW_READ, SW_READ_INTO, SW_READ_TEXT, SW_HAS, SW_OFFSET     read the kernel's memory
 *   SW_NOW, SW_KILL, SW_LOOP, barrier_var                      the rest
 */
#ifndef SW_WORLD_H
#define SW_WORLD_H

#define SW_AF_UNIX	1	   /* include/linux/socket.h */
#define SW_TCP_LISTEN	10	   /* include/net/tcp_states.h; unix sockets use the same numbers */
#define SW_SIGKILL	9	   /* include/uapi/asm-generic/signal.h */
#define SW_SOCKFS_MAGIC 0x534F434B /* include/uapi/linux/magic.h */
#define SW_EPERM	1	   /* include/uapi/asm-generic/errno-base.h */

#ifdef SW_BCC
#include "bcc/world.h"
#else

#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "kernel_types.h"

/* Maps. Names have at most 15 characters, the kernel's limit for object names. */
#define SW_MAP(map, kind, key_type, value_type, entries)                                           \
	struct {                                                                                   \
		__uint(type, kind);                                                                \
		__uint(max_entries, entries);                                                      \
		__type(key, key_type);                                                             \
		__type(value, value_type);                                                         \
	} map SEC(".maps")

#define SW_HASH(map, key, value, entries) SW_MAP(map, BPF_MAP_TYPE_HASH, key, value, entries)
#define SW_LRU_HASH(map, key, value, entries)                                                      \
	SW_MAP(map, BPF_MAP_TYPE_LRU_HASH, key, value, entries)
#define SW_ARRAY(map, value, entries) SW_MAP(map, BPF_MAP_TYPE_ARRAY, __u32, value, entries)
#define SW_PERCPU_ARRAY(map, value, entries)                                                       \
	SW_MAP(map, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, value, entries)

/* A ring of records of the types that its comment names; size in bytes. */
#define SW_RING(map, bytes)                                                                        \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_RINGBUF);                                                \
		__uint(max_entries, bytes);                                                        \
	} map SEC(".maps")

/* All take the map by its name and pointers to key and value. */
#define SW_LOOKUP(map, key)		bpf_map_lookup_elem(&map, key)
#define SW_UPDATE(map, key, value)	bpf_map_update_elem(&map, key, value, BPF_ANY)
#define SW_DELETE(map, key)		bpf_map_delete_elem(&map, key)

/*
 * Room for one record of the struct type in a ring, or NULL; then send it: 0 if it was sent. Every
 * byte of the record must be written in between. context is the program's own, which not every
 * world needs.
 */
#define SW_RESERVE(ring, type)		((type *)bpf_ringbuf_reserve(&ring, sizeof(type), 0))
#define SW_SUBMIT(context, ring, event) (bpf_ringbuf_submit(event, 0), 0)

/* source->a->b->c as SW_READ(source, a, b, c); 0 if a pointer on the way leads nowhere. */
#define SW_READ(source, ...)		BPF_CORE_READ(source, ##__VA_ARGS__)
/* Copy sizeof(*destination) bytes, or a text that ends in the array destination, from a field. */
#define SW_READ_INTO(destination, address)                                                         \
	bpf_core_read(destination, sizeof(*(destination)), address)
#define SW_READ_TEXT(destination, address)                                                         \
	bpf_core_read_str(destination, sizeof(destination), address)
/* Whether the running kernel has that field; where it is. */
#define SW_HAS(field)		bpf_core_field_exists(field)
#define SW_OFFSET(type, member) bpf_core_field_offset(type, member)

/* Nanoseconds since boot, suspend included. */
#define SW_NOW()		bpf_ktime_get_boot_ns()
/* SIGKILL for the current process: 0 if it was sent. */
#define SW_KILL()		bpf_send_signal(SW_SIGKILL)
/* Before a for loop with a constant bound: kernels from 5.3 take loops as they are. */
#define SW_LOOP			_Pragma("clang loop unroll(disable)")

#endif
#endif
