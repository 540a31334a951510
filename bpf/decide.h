/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The one decision that every rung shares: may this task connect to that listening socket?
 *
 * It asks for the object behind the listener (device and inode), never for a path text: bind
 * mounts, symlinks, hard links, /proc/PID/root and other mount namespaces all lead to the same
 * object. Fail-open or fail-closed stands at each return.
 */
#ifndef SW_DECIDE_H
#define SW_DECIDE_H

#include <linux/errno.h>
#include "actor.h"
#include "maps.h"

static __always_inline void sw_count(__u32 stat)
{
	__u64 *counter = bpf_map_lookup_elem(&sw_guard_stats, &stat);

	if (counter)
		__sync_fetch_and_add(counter, 1);
}

static __always_inline struct sw_config *sw_get_config(void)
{
	__u32 only = 0;

	return bpf_map_lookup_elem(&sw_config, &only);
}

/* The agent by its process and start time: a later process with the same number is somebody else.
 */
static __always_inline int sw_is_agent(const struct sw_config *config)
{
	struct task_struct *task;

	if (bpf_get_current_pid_tgid() >> 32 != config->agent_tgid)
		return 0;
	task = (struct task_struct *)bpf_get_current_task();
	return BPF_CORE_READ(task, group_leader, start_boottime) / config->tick_ns ==
	       config->agent_start_ticks;
}

/* Fill key and return the class of the listener. No file behind it (abstract name): not guarded. */
static __always_inline __u32 sw_classify(struct sock *listener, const struct sw_config *config,
					 struct sw_socket_key *key)
{
	struct unix_sock *socket = (struct unix_sock *)listener;
	struct inode *inode = BPF_CORE_READ(socket, path.dentry, d_inode);
	__u32 *socket_class;

	if (!inode)
		return SW_CLASS_NONE;
	key->inode = BPF_CORE_READ(inode, i_ino);
	key->device = BPF_CORE_READ(inode, i_sb, s_dev);
	key->generation = config->generation;
	socket_class = bpf_map_lookup_elem(&sw_guarded, key);
	return socket_class ? *socket_class : SW_CLASS_NONE;
}

/*
 * One of a class's own verdicts. The check stands right before the use, on a value that clang can
 * no longer trace back: else it checks one copy and indexes with another, which the verifier
 * refuses.
 */
static __always_inline __u32 sw_class_verdict(const __u32 *verdicts, __u32 socket_class)
{
	barrier_var(socket_class);
	if (socket_class >= SW_CLASS_MAX)
		return SW_VERDICT_DENY; /* a class of a later version: closed */
	return verdicts[socket_class];
}

/*
 * The verdict for the nearest cgroup with an entry, from the task's leaf upwards: a container that
 * makes cgroups of its own stays the same container. Without an entry: the class's own verdict.
 */
static __always_inline __u32 sw_judge(const struct sw_config *config, __u32 socket_class)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct cgroup *cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp);
	struct sw_verdict_key key = {
		.socket_class = socket_class,
		.generation = config->generation,
	};
	__u32 *verdict;
	int step;

#pragma clang loop unroll(disable)
	for (step = 0; step < SW_CGROUP_CLIMB; step++) {
		if (!cgroup)
			break;
		key.cgroup_id = BPF_CORE_READ(cgroup, kn, id);
		verdict = bpf_map_lookup_elem(&sw_verdicts, &key);
		if (verdict)
			return *verdict;
		cgroup = BPF_CORE_READ(cgroup, self.parent, cgroup);
	}
	if (BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum) == config->host_mnt_ns)
		return sw_class_verdict(config->host_verdict, socket_class);
	return sw_class_verdict(config->default_verdict, socket_class);
}

/* Send one record. A full ring loses the record, never the
 * decision. */
static __always_inline void sw_report(const struct sw_socket_key *key, __u32 socket_class,
				      __u32 verdict, __u32 source)
{
	struct sw_connect_event *event;

	event = bpf_ringbuf_reserve(&sw_connects, sizeof(*event), 0);
	if (!event) {
		sw_count(SW_GUARD_DROPPED);
		return;
	}
	sw_fill_header(&event->header, SW_KIND_CONNECT, sizeof(*event));
	sw_fill_actor(&event->actor, (struct task_struct *)bpf_get_current_task());
	event->inode = key->inode;
	event->device = key->device;
	event->socket_class = socket_class;
	event->verdict = verdict;
	event->source = source;
	event->path_bytes = 0;
	__builtin_memset(event->path, 0, sizeof(event->path));
	bpf_ringbuf_submit(event, 0);
	sw_count(SW_GUARD_REPORTED);
}

/*
 * Decide on one connect() of the current task to listener and report it.
 *
 * Return the verdict; SW_VERDICT_NONE for a socket that is not guarded, and while the agent has not
 * yet written its configuration: open, because nothing is guarded then. *out_class says which
 * class.
 */
static __always_inline __u32 sw_decide(struct sock *listener, __u32 source, __u32 *out_class)
{
	struct sw_config *config = sw_get_config();
	struct sw_socket_key key = {};
	__u32 socket_class, verdict;

	sw_count(SW_GUARD_SEEN);
	if (!config)
		return SW_VERDICT_NONE;
	socket_class = sw_classify(listener, config, &key);
	*out_class = socket_class;
	if (socket_class == SW_CLASS_NONE)
		return SW_VERDICT_NONE;
	sw_count(SW_GUARD_MATCHED);
	if (sw_is_agent(config)) {
		sw_count(SW_GUARD_OWN);
		return SW_VERDICT_ALLOW;
	}
	verdict = sw_judge(config, socket_class);
	sw_count(verdict == SW_VERDICT_ALLOW ? SW_GUARD_ALLOWED : SW_GUARD_DENIED);
	/* The gateway sees its own clients: only what it will not see is worth a record. */
	if (socket_class != SW_CLASS_PUBLIC || verdict != SW_VERDICT_ALLOW)
		sw_report(&key, socket_class, verdict, source);
	return verdict;
}

/* What a rung does with the verdict: 1 if the connect() must fail. Kills where the action says so.
 */
static __always_inline int sw_enforce(__u32 verdict)
{
	struct sw_config *config = sw_get_config();

	if (!config || verdict == SW_VERDICT_NONE || verdict == SW_VERDICT_ALLOW)
		return 0;
	if (config->action == SW_ACTION_AUDIT)
		return 0;
	if (config->action == SW_ACTION_KILL)
		bpf_send_signal(SW_SIGKILL);
	return 1;
}

#endif
