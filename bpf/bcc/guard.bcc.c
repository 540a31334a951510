// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The rung bcc: what guard.bpf.c has for the rung kprobe, and all of track.bpf.c, under the same
 * names, compiled by BCC on the host. Each program is attached to what its comment names
 * (agent/sockwarden/kernel/compiled/bccrung.py): the entry of a kernel function, or a raw
 * tracepoint.
 *
 * The context is a void pointer on purpose: BCC rewrites what it can trace back to the struct of a
 * context.
 */
#define SW_BCC
#include "identity.h"
#include "life.h"

/* The nth argument of a kernel function, from 1, and of a tracepoint, from 0. */
#define SW_ARGUMENT(context, n) PT_REGS_PARM##n((struct pt_regs *)(context))
#define SW_TOLD(context, n)	(((const __u64 *)(context))[n])

/* security_unix_stream_connect(sock, other, newsk) */
int guard_kprobe(void *context)
{
	struct sock *client = (struct sock *)SW_ARGUMENT(context, 1);
	struct sock *listener = (struct sock *)SW_ARGUMENT(context, 2);
	struct sock *accepted = (struct sock *)SW_ARGUMENT(context, 3);

	sw_guard_connect(context, client, listener, accepted, SW_SOURCE_KPROBE);
	return 0;
}

/* security_sock_graft(sk, parent) */
int identity_graft(void *context)
{
	sw_grafted((struct sock *)SW_ARGUMENT(context, 1),
		   (struct socket *)SW_ARGUMENT(context, 2));
	return 0;
}

/* security_sk_free(sk) */
int identity_free(void *context)
{
	sw_freed((struct sock *)SW_ARGUMENT(context, 1));
	return 0;
}

/* cgroup_mkdir(cgrp, path) */
int track_cgroup_mkdir(void *context)
{
	return sw_report_cgroup((struct cgroup *)SW_TOLD(context, 0),
				(const char *)SW_TOLD(context, 1), SW_KIND_CGROUP_MADE);
}

/* cgroup_rmdir(cgrp, path) */
int track_cgroup_rmdir(void *context)
{
	return sw_report_cgroup((struct cgroup *)SW_TOLD(context, 0),
				(const char *)SW_TOLD(context, 1), SW_KIND_CGROUP_GONE);
}

/* sched_process_fork(parent, child) */
int track_fork(void *context)
{
	return sw_report_init((struct task_struct *)SW_TOLD(context, 1),
			      (struct task_struct *)SW_TOLD(context, 0), NULL, SW_KIND_INIT_BORN);
}

/* sched_process_exec(p, old_pid, bprm) */
int track_exec(void *context)
{
	return sw_report_init((struct task_struct *)SW_TOLD(context, 0), NULL,
			      (struct linux_binprm *)SW_TOLD(context, 2), SW_KIND_INIT_EXEC);
}

/* sched_process_exit(p) */
int track_exit(void *context)
{
	return sw_report_init((struct task_struct *)SW_TOLD(context, 0), NULL, NULL,
			      SW_KIND_INIT_EXIT);
}
