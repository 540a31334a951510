/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The maps of the guard, in either world. Policy lies in plain hashes, whose entries never vanish;
 * what a flood can fill lies in LRU hashes.
 */
#ifndef SW_MAPS_H
#define SW_MAPS_H

#include "world.h"
#include "abi.h"

/* Which sockets are guarded: the value is an enum sw_class. Written by the agent. */
SW_HASH(sw_guarded, struct sw_socket_key, __u32, SW_GUARDED_ENTRIES);

/*
 * Verdicts by cgroup: the value is an enum sw_verdict. DENY holds for the cgroup and everything
 * below it; ALLOW holds for exactly that leaf, so that what is made below a service inherits
 * nothing. Written by the agent.
 */
SW_HASH(sw_verdicts, struct sw_verdict_key, __u32, SW_VERDICT_ENTRIES);

/* One entry of struct sw_config. Written by the agent. */
SW_ARRAY(sw_config, struct sw_config, 1);

/* Connectors whose connection waits for accept(), by the address of the sock that accept() will
 * hand out. Written here only. */
SW_LRU_HASH(sw_pending, __u64, struct sw_actor, SW_IDENTITY_ENTRIES);

/* Connectors by the inode of the accepted socket, as fstat() of it says. Written here, read and
 * deleted by the agent. */
SW_LRU_HASH(sw_identity, __u64, struct sw_actor, SW_IDENTITY_ENTRIES);

/* Connectors by the address of their own end's sock, for when it is handed over. Written here only.
 */
SW_LRU_HASH(sw_clients, __u64, struct sw_actor, SW_IDENTITY_ENTRIES);

/* Records of struct sw_connect_event. Its own ring, so that container life cannot crowd denials
 * out. */
SW_RING(sw_connects, SW_RING_BYTES);

/* Counters: key enum sw_guard_stat. Written here, read by the agent. */
SW_PERCPU_ARRAY(sw_guard_stats, __u64, SW_GUARD_STAT_MAX);

#endif
