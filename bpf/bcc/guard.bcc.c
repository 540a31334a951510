// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The rung bcc: what guard.bpf.c has for the rung kprobe, under the same names, compiled by BCC on
 * the host. Each program is attached to the entry of the kernel function that its comment names
 * (agent/sockwarden/kernel/bccrung.py).
 *
 * The context is a void pointer on purpose: BCC rewrites what it can trace back to a struct
 * pt_regs.
 */
#define SW_BCC
#include "identity.h"

#define SW_ARGUMENT(context, n) PT_REGS_PARM##n((struct pt_regs *)(context))

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
