// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Container life: cgroups of the v2 tree that come and go, and the init processes of new pid
 * namespaces. Raw tracepoints only (tp_btf), which no boot parameter and no policy of the
 * trampolines touches.
 */
#include "life.h"
#include <bpf/bpf_tracing.h>

char sw_license[] SEC("license") = "GPL";

SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(track_cgroup_mkdir, struct cgroup *cgroup, const char *path)
{
	return sw_report_cgroup(cgroup, path, SW_KIND_CGROUP_MADE);
}

SEC("tp_btf/cgroup_rmdir")
int BPF_PROG(track_cgroup_rmdir, struct cgroup *cgroup, const char *path)
{
	return sw_report_cgroup(cgroup, path, SW_KIND_CGROUP_GONE);
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(track_fork, struct task_struct *parent, struct task_struct *child)
{
	return sw_report_init(child, parent, NULL, SW_KIND_INIT_BORN);
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(track_exec, struct task_struct *task, int old_pid, struct linux_binprm *program)
{
	return sw_report_init(task, NULL, program, SW_KIND_INIT_EXEC);
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(track_exit, struct task_struct *task)
{
	return sw_report_init(task, NULL, NULL, SW_KIND_INIT_EXIT);
}
