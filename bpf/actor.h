/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Who does it: a task written down as struct sw_actor, and the head that every record begins with.
 */
#ifndef SW_ACTOR_H
#define SW_ACTOR_H

#include "world.h"
#include "abi.h"

static __always_inline void sw_fill_header(struct sw_header *header, __u32 kind, __u32 size)
{
	header->abi_version = SW_ABI_VERSION;
	header->kind = kind;
	header->size = size;
	header->flags = 0;
	header->time_ns = SW_NOW();
}

static __always_inline struct task_struct *sw_current(void)
{
	return (struct task_struct *)bpf_get_current_task();
}

static __always_inline __u64 sw_cgroup_id(struct task_struct *task)
{
	return SW_READ(task, cgroups, dfl_cgrp, kn, id);
}

static __always_inline __u32 sw_mnt_ns(struct task_struct *task)
{
	return SW_READ(task, nsproxy, mnt_ns, ns.inum);
}

/* The number of a mount namespace that no later one gets; inum is given out again. */
static __always_inline __u64 sw_mnt_id(struct task_struct *task)
{
	struct mnt_namespace *mnt_ns = SW_READ(task, nsproxy, mnt_ns);

	if (SW_HAS(mnt_ns->seq))
		return SW_READ(mnt_ns, seq);
	if (SW_HAS(mnt_ns->ns.ns_id))
		return SW_READ(mnt_ns, ns.ns_id);
	return 0;
}

/* A task without namespaces (it is exiting) leaves zeroes: SW_READ through a NULL pointer reads 0.
 */
static __always_inline void sw_fill_actor(struct sw_actor *actor, struct task_struct *task)
{
	struct task_struct *leader = SW_READ(task, group_leader);
	struct pid *id = SW_READ(leader, thread_pid);
	__u32 level = SW_READ(id, level);
	struct upid innermost = {};

	SW_READ_INTO(&innermost, &id->numbers[level]);
	actor->cgroup_id = sw_cgroup_id(task);
	actor->start_ns = SW_READ(leader, start_boottime);
	actor->mnt_id = sw_mnt_id(task);
	actor->tgid = SW_READ(task, tgid);
	actor->pid = SW_READ(task, pid);
	actor->uid = SW_READ(task, cred, uid.val);
	actor->gid = SW_READ(task, cred, gid.val);
	actor->pid_ns = SW_READ(innermost.ns, ns.inum);
	actor->mnt_ns = sw_mnt_ns(task);
	actor->ns_pid = innermost.nr;
	actor->ns_level = level;
	__builtin_memset(actor->comm, 0, sizeof(actor->comm));
	SW_READ_TEXT(actor->comm, &task->comm);
}

#endif
