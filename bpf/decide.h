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

#include "actor.h"
#include "budget.h"
#include "maps.h"

/* What was decided about one connection, and what was done about it. */
struct sw_decision {
	struct sw_socket_key key;
	__u32 socket_class; /* enum sw_class; NONE: not guarded, and the rest means nothing */
	__u32 verdict;	    /* enum sw_verdict */
	__u32 source;	    /* enum sw_source */
	__u32 flags;	    /* SW_FLAG_REFUSED: make the call fail; SW_FLAG_KILLED: done already */
};

static __always_inline void sw_count(__u32 stat)
{
	__u64 *counter = SW_LOOKUP(sw_guard_stats, &stat);

	if (counter)
		__sync_fetch_and_add(counter, 1);
}

static __always_inline struct sw_config *sw_get_config(void)
{
	__u32 only = 0;

	return SW_LOOKUP(sw_config, &only);
}

/* The agent by its process and start time: a later process with the same number is somebody else.
 */
static __always_inline int sw_is_agent(const struct sw_config *config)
{
	if (bpf_get_current_pid_tgid() >> 32 != config->agent_tgid)
		return 0;
	return SW_READ(sw_current(), group_leader, start_boottime) / config->tick_ns ==
	       config->agent_start_ticks;
}

/*
 * Fill key and return the class of the socket that sock belongs to: a listener, or what accept()
 * made of it, for unix_stream_connect() gives both the same path. No file behind it (abstract
 * name): not guarded.
 */
static __always_inline __u32 sw_classify(struct sock *sock, const struct sw_config *config,
					 struct sw_socket_key *key)
{
	struct unix_sock *socket = (struct unix_sock *)sock;
	struct inode *inode = SW_READ(socket, path.dentry, d_inode);
	__u32 *socket_class;

	if (!inode)
		return SW_CLASS_NONE;
	key->inode = SW_READ(inode, i_ino);
	key->device = SW_READ(inode, i_sb, s_dev);
	key->generation = config->generation;
	socket_class = SW_LOOKUP(sw_guarded, key);
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
	/* Whatever else may stand there was not written by this version: closed. */
	return verdicts[socket_class] == SW_VERDICT_ALLOW ? SW_VERDICT_ALLOW : SW_VERDICT_DENY;
}

/*
 * The verdict for the current task: an ALLOW of its own leaf cgroup, or a DENY of that or any
 * cgroup above, so that a container which makes cgroups of its own stays denied; an ALLOW above the
 * leaf says nothing about it. Without such an entry: the class's own verdict.
 */
static __always_inline __u32 sw_judge(const struct sw_config *config, __u32 socket_class)
{
	struct task_struct *task = sw_current();
	struct cgroup *cgroup = SW_READ(task, cgroups, dfl_cgrp);
	struct sw_verdict_key key = {
		.socket_class = socket_class,
		.generation = config->generation,
	};
	__u32 *verdict;
	int step;

	SW_LOOP
	for (step = 0; step < SW_CGROUP_CLIMB; step++) {
		if (!cgroup)
			break;
		key.cgroup_id = SW_READ(cgroup, kn, id);
		verdict = SW_LOOKUP(sw_verdicts, &key);
		if (verdict && *verdict != SW_VERDICT_ALLOW)
			return SW_VERDICT_DENY;
		if (verdict && step == 0)
			return SW_VERDICT_ALLOW;
		cgroup = SW_READ(cgroup, self.parent, cgroup);
	}
	if (cgroup)
		return SW_VERDICT_DENY; /* a DENY may stand above what was climbed: closed */
	if (sw_mnt_ns(task) == config->host_mnt_ns)
		return sw_class_verdict(config->host_verdict, socket_class);
	return sw_class_verdict(config->default_verdict, socket_class);
}

/*
 * Do at once what can be done about a denial, and return it as flags. The canary is dealt with
 * whatever the action is: it proves the rung in every mode. Only watched (LISTENER, SYSCALL):
 * nothing, the agent cuts the connection.
 */
static __always_inline __u32 sw_enforce(const struct sw_config *config, __u32 socket_class,
					__u32 source)
{
	int canary = socket_class == SW_CLASS_CANARY;
	int refuses = source == SW_SOURCE_FMOD_RET || source == SW_SOURCE_LSM ||
		      source == SW_SOURCE_RECEIVE;
	int kills = source == SW_SOURCE_KPROBE && canary;
	__u32 flags = 0;

	if (config->action == SW_ACTION_AUDIT && !canary)
		return 0;
	if (config->action == SW_ACTION_KILL && !canary)
		kills = refuses || source == SW_SOURCE_KPROBE;
	if (refuses)
		flags |= SW_FLAG_REFUSED;
	if (kills && SW_KILL() == 0)
		flags |= SW_FLAG_KILLED;
	return flags;
}

/* Send one record. A full ring and a spent budget lose the record, never the decision; the canary's
 * is always sent. */
static __always_inline void sw_report(void *context, const struct sw_decision *decision)
{
	struct sw_connect_event *event;

	if (decision->socket_class != SW_CLASS_CANARY && !sw_within_budget(SW_REPORTS_PER_SECOND)) {
		sw_count(SW_GUARD_MUTED);
		return;
	}
	event = SW_RESERVE(sw_connects, struct sw_connect_event);
	if (!event) {
		sw_count(SW_GUARD_DROPPED);
		return;
	}
	sw_fill_header(&event->header, SW_KIND_CONNECT, sizeof(*event));
	event->header.flags = decision->flags;
	sw_fill_actor(&event->actor, sw_current());
	event->inode = decision->key.inode;
	event->device = decision->key.device;
	event->socket_class = decision->socket_class;
	event->verdict = decision->verdict;
	event->source = decision->source;
	event->path_bytes = 0;
	__builtin_memset(event->path, 0, sizeof(event->path));
	sw_count(SW_SUBMIT(context, sw_connects, event) ? SW_GUARD_DROPPED : SW_GUARD_REPORTED);
}

/*
 * Decide on one connect() of the current task to listener, do what can be done at once, count it
 * and report it. decision comes in with its source and zeroes.
 *
 * Left as it is for a socket that is not guarded, and while the agent has not yet written its
 * configuration: open, because nothing is guarded then.
 */
static __always_inline void sw_decide(void *context, struct sock *listener,
				      struct sw_decision *decision)
{
	struct sw_config *config = sw_get_config();

	if (config)
		decision->socket_class = sw_classify(listener, config, &decision->key);
	if (decision->socket_class == SW_CLASS_CANARY) {
		sw_count(SW_GUARD_CANARY);
		decision->verdict = SW_VERDICT_DENY;
	} else {
		sw_count(SW_GUARD_SEEN);
	}
	if (!config || decision->socket_class == SW_CLASS_NONE)
		return;
	if (sw_is_agent(config)) {
		decision->verdict = SW_VERDICT_ALLOW;
		if (decision->socket_class != SW_CLASS_CANARY) {
			sw_count(SW_GUARD_MATCHED);
			sw_count(SW_GUARD_OWN);
		}
		return;
	}
	if (decision->socket_class != SW_CLASS_CANARY) {
		sw_count(SW_GUARD_MATCHED);
		decision->verdict = sw_judge(config, decision->socket_class);
		sw_count(decision->verdict == SW_VERDICT_ALLOW ? SW_GUARD_ALLOWED
							       : SW_GUARD_DENIED);
	}
	if (decision->verdict == SW_VERDICT_DENY)
		decision->flags = sw_enforce(config, decision->socket_class, decision->source);
	/* The gateway sees its own clients: only what it will not see is worth a record. */
	if (decision->socket_class != SW_CLASS_PUBLIC || decision->verdict == SW_VERDICT_DENY)
		sw_report(context, decision);
}

#endif
