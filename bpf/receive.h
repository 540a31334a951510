/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A descriptor that came from another process: SCM_RIGHTS, pidfd_getfd(), and a seccomp
 * supervisor's gift all pass security_file_receive() in the process that gets it. If it is the
 * client's end of a connection to a guarded socket, the receiver must be one who may have it.
 *
 * Not seen: what comes by fork(), and what a process keeps when it enters other namespaces; files
 * in the table of an io_uring. CO-RE objects only: lower rungs have nothing that could refuse.
 */
#ifndef SW_RECEIVE_H
#define SW_RECEIVE_H

#include "identity.h"

/* The unix sock behind a file, NULL for every other file. */
static __always_inline struct unix_sock *sw_unix_end(struct file *file)
{
	struct inode *inode = SW_READ(file, f_inode);
	struct socket_alloc *whole;
	struct unix_sock *end;

	if (SW_READ(inode, i_sb, s_magic) != SW_SOCKFS_MAGIC)
		return NULL;
	whole = (void *)inode - SW_OFFSET(struct socket_alloc, vfs_inode);
	end = (struct unix_sock *)SW_READ(whole, socket.sk);
	return SW_READ(end, sk.__sk_common.skc_family) == SW_AF_UNIX ? end : NULL;
}

/*
 * The gateway knows one connector per connection, so only who is in the connector's own mount
 * namespace may have its end: the same container. The host may have everything. Without an entry
 * nobody knows whose the connection is: closed.
 */
static __always_inline __u32 sw_judge_public(const struct sw_config *config, struct unix_sock *end,
					     struct sock *peer)
{
	struct task_struct *task = sw_current();
	__u64 address = (__u64)end;
	struct sw_actor *connector;
	__u64 mnt_id = sw_mnt_id(task);
	__u32 mnt_ns = sw_mnt_ns(task);

	if (mnt_ns == config->host_mnt_ns)
		return SW_VERDICT_ALLOW;
	connector = SW_LOOKUP(sw_clients, &address);
	if (!connector || connector->tgid != sw_peer_tgid(peer))
		return SW_VERDICT_DENY;
	if (connector->mnt_id != mnt_id || connector->mnt_ns != mnt_ns || !mnt_ns)
		return SW_VERDICT_DENY;
	return SW_VERDICT_ALLOW;
}

/* Returns 0 or -EPERM. */
static __always_inline int sw_guard_receive(void *context, struct file *file)
{
	struct sw_decision decision = {.source = SW_SOURCE_RECEIVE};
	struct sw_config *config = sw_get_config();
	struct unix_sock *end = sw_unix_end(file);
	struct sock *peer = SW_READ(end, peer);

	if (!config || !peer)
		return 0; /* no connection, or nothing is guarded yet: open */
	/* The other end of a client's is what accept() hands out: it has the listener's path. */
	decision.socket_class = sw_classify(peer, config, &decision.key);
	if (decision.socket_class == SW_CLASS_NONE)
		return 0; /* not guarded: open */
	if (sw_is_agent(config))
		return 0;
	if (decision.socket_class == SW_CLASS_CANARY)
		decision.verdict = SW_VERDICT_DENY;
	else if (decision.socket_class == SW_CLASS_PUBLIC)
		decision.verdict = sw_judge_public(config, end, peer);
	else
		decision.verdict = sw_judge(config, decision.socket_class);
	if (decision.verdict == SW_VERDICT_ALLOW)
		return 0;
	sw_count(decision.socket_class == SW_CLASS_CANARY ? SW_GUARD_CANARY : SW_GUARD_HANDED);
	decision.flags = sw_enforce(config, decision.socket_class, decision.source);
	sw_report(context, &decision);
	return decision.flags & SW_FLAG_REFUSED ? -SW_EPERM : 0;
}

#endif
