/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Who does it: a task written down as struct sw_actor, and the head that every record begins with.
 */
#ifndef SW_ACTOR_H
#define SW_ACTOR_H

#include <linux/bpf.h>
#include "abi.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "kernel_types.h"

static __always_inline void sw_fill_header(struct sw_header *header, __u32 kind, __u32 size)
{
	header->abi_version = SW_ABI_VERSION;
	header->kind = kind;
	header->size = size;
	header->flags = 0;
	header->time_ns = bpf_ktime_get_boot_ns();
}

/* The number of a mount namespace that no later one gets; inum is given out again. */
static __always_inline __u64 sw_mnt_id(struct mnt_namespace *mnt_ns)
{
	if (bpf_core_field_exists(mnt_ns->seq))
		return BPF_CORE_READ(mnt_ns, seq);
	if (bpf_core_field_exists(mnt_ns->ns.ns_id))
		return BPF_CORE_READ(mnt_ns, ns.ns_id);
	return 0;
}

/* A task without namespaces (it is exiting) leaves zeroes: BPF_CORE_READ of a NULL pointer reads 0.
 */
static __always_inline void sw_fill_actor(struct sw_actor *actor, struct task_struct *task)
{
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);
	struct pid *id = BPF_CORE_READ(leader, thread_pid);
	__u32 level = BPF_CORE_READ(id, level);
	struct upid innermost = {};

	bpf_core_read(&innermost, sizeof(innermost), &id->numbers[level]);
	actor->cgroup_id = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	actor->start_ns = BPF_CORE_READ(leader, start_boottime);
	actor->mnt_id = sw_mnt_id(BPF_CORE_READ(task, nsproxy, mnt_ns));
	actor->tgid = BPF_CORE_READ(task, tgid);
	actor->pid = BPF_CORE_READ(task, pid);
	actor->uid = BPF_CORE_READ(task, cred, uid.val);
	actor->gid = BPF_CORE_READ(task, cred, gid.val);
	actor->pid_ns = BPF_CORE_READ(innermost.ns, ns.inum);
	actor->mnt_ns = BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum);
	actor->ns_pid = innermost.nr;
	actor->ns_level = level;
	__builtin_memset(actor->comm, 0, sizeof(actor->comm));
	bpf_core_read_str(actor->comm, sizeof(actor->comm), &task->comm);
}

#endif
