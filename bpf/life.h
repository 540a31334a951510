/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What track.bpf.c and the rung bcc tell about container life. Reports, never decides. */
#ifndef SW_LIFE_H
#define SW_LIFE_H

#include "budget.h"

/* Records of struct sw_cgroup_event and struct sw_process_event. */
SW_RING(sw_life, SW_RING_BYTES);

/* Counters: key enum sw_track_stat. Written here, read by the agent. */
SW_PERCPU_ARRAY(sw_track_stats, __u64, SW_TRACK_STAT_MAX);

static __always_inline void sw_track_count(__u32 stat)
{
	__u64 *counter = SW_LOOKUP(sw_track_stats, &stat);

	if (counter)
		__sync_fetch_and_add(counter, 1);
}

static __always_inline int sw_report_cgroup(struct cgroup *cgroup, const char *path, __u32 kind)
{
	struct sw_cgroup_event *event;
	long length;

	sw_track_count(SW_TRACK_SEEN);
	/* The event fires once per hierarchy; 0 is the v2 tree, whose ids name cgroups everywhere.
	 */
	if (SW_READ(cgroup, root, hierarchy_id) != 0) {
		sw_track_count(SW_TRACK_SKIPPED);
		return 0;
	}
	if (!sw_within_budget(SW_LIFE_PER_SECOND)) {
		sw_track_count(SW_TRACK_MUTED);
		return 0;
	}
	event = SW_RESERVE(sw_life, struct sw_cgroup_event);
	if (!event) {
		sw_track_count(SW_TRACK_DROPPED);
		return 0;
	}
	sw_fill_header(&event->header, kind, sizeof(*event));
	sw_fill_actor(&event->actor, sw_current());
	event->cgroup_id = SW_READ(cgroup, kn, id);
	event->level = SW_READ(cgroup, level);
	__builtin_memset(event->path, 0, sizeof(event->path));
	length = bpf_probe_read_kernel_str(event->path, sizeof(event->path), path);
	event->path_bytes = length > 0 ? length - 1 : 0;
	if (length == sizeof(event->path))
		event->header.flags |= SW_FLAG_TRUNCATED;
	sw_track_count(SW_SUBMIT(NULL, sw_life, event) ? SW_TRACK_DROPPED : SW_TRACK_REPORTED);
	return 0;
}

/* 1 if task is the first process of a pid namespace below the host's: a container's init. */
static __always_inline int sw_is_init(struct task_struct *task)
{
	struct pid *id = SW_READ(task, thread_pid);
	__u32 level = SW_READ(id, level);
	struct upid innermost = {};

	if (level == 0 || SW_READ(task, pid) != SW_READ(task, tgid))
		return 0;
	SW_READ_INTO(&innermost, &id->numbers[level]);
	return innermost.nr == 1;
}

static __always_inline int sw_report_init(struct task_struct *task, struct task_struct *parent,
					  struct linux_binprm *program, __u32 kind)
{
	struct sw_process_event *event;
	long length = 0;

	sw_track_count(SW_TRACK_SEEN);
	if (!sw_is_init(task)) {
		sw_track_count(SW_TRACK_SKIPPED);
		return 0;
	}
	if (!sw_within_budget(SW_LIFE_PER_SECOND)) {
		sw_track_count(SW_TRACK_MUTED);
		return 0;
	}
	event = SW_RESERVE(sw_life, struct sw_process_event);
	if (!event) {
		sw_track_count(SW_TRACK_DROPPED);
		return 0;
	}
	sw_fill_header(&event->header, kind, sizeof(*event));
	sw_fill_actor(&event->actor, task);
	event->parent_tgid = parent ? SW_READ(parent, tgid) : 0;
	__builtin_memset(event->filename, 0, sizeof(event->filename));
	if (program)
		length = bpf_probe_read_kernel_str(event->filename, sizeof(event->filename),
						   SW_READ(program, filename));
	event->filename_bytes = length > 0 ? length - 1 : 0;
	if (length == sizeof(event->filename))
		event->header.flags |= SW_FLAG_TRUNCATED;
	sw_track_count(SW_SUBMIT(NULL, sw_life, event) ? SW_TRACK_DROPPED : SW_TRACK_REPORTED);
	return 0;
}

#endif
