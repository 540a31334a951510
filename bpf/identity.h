/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Who connected, kept from connect() to accept() and for as long as the connection lives.
 *
 * connect() writes the connector under both socks' addresses; accept() re-keys the server's by the
 * inode of the new socket, which fstat() of the accepted descriptor tells the agent; the end of a
 * sock deletes what stands under its address, so that a later sock there inherits nothing.
 */
#ifndef SW_IDENTITY_H
#define SW_IDENTITY_H

#include "decide.h"

/*
 * One connect() on every rung that has the two new ends of the connection at hand. Returns 0 or
 * -EPERM, which a rung that cannot refuse ignores.
 */
static __always_inline int sw_guard_connect(void *context, struct sock *client,
					    struct sock *listener, struct sock *accepted,
					    __u32 source)
{
	struct sw_decision decision = {.source = source};
	struct sw_actor actor = {};
	__u64 address;

	sw_decide(context, listener, &decision);
	if (decision.flags & SW_FLAG_REFUSED)
		return -SW_EPERM;
	if (decision.socket_class != SW_CLASS_PUBLIC || decision.flags & SW_FLAG_KILLED)
		return 0;
	/* Only the gateway asks who its clients are, and only they are bound to a namespace. */
	sw_fill_actor(&actor, sw_current());
	address = (__u64)accepted;
	SW_UPDATE(sw_pending, &address, &actor);
	address = (__u64)client;
	SW_UPDATE(sw_clients, &address, &actor);
	return 0;
}

/* The process that unix_stream_connect() itself noted on the server's end, as SO_PEERCRED tells. */
static __always_inline __u32 sw_peer_tgid(struct sock *accepted)
{
	return SW_READ(accepted, sk_peer_pid, numbers[0].nr);
}

/*
 * accept() gave the sock its socket: from here on fstat() of the accepted descriptor names it.
 * Inode numbers of sockets come again after 2^32, so one without a connector says so.
 */
static __always_inline void sw_grafted(struct sock *sk, struct socket *parent)
{
	__u64 address = (__u64)sk;
	struct socket_alloc *whole;
	struct sw_actor *actor;
	__u64 inode;

	if (SW_READ(sk, __sk_common.skc_family) != SW_AF_UNIX)
		return;
	whole = (void *)parent - SW_OFFSET(struct socket_alloc, socket);
	inode = SW_READ(whole, vfs_inode.i_ino);
	actor = SW_LOOKUP(sw_pending, &address);
	if (actor && actor->tgid == sw_peer_tgid(sk))
		SW_UPDATE(sw_identity, &inode, actor);
	else
		SW_DELETE(sw_identity, &inode);
	if (actor)
		SW_DELETE(sw_pending, &address);
}

/* A sock is over. Its memory is given out again after this. */
static __always_inline void sw_freed(struct sock *sk)
{
	__u64 address = (__u64)sk;

	if (SW_READ(sk, __sk_common.skc_family) != SW_AF_UNIX)
		return;
	SW_DELETE(sw_pending, &address);
	SW_DELETE(sw_clients, &address);
}

#endif
