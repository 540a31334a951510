// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * connect() on guarded sockets, one thin program per rung of the ladder. The loader loads only
 * those of the rung that it tries (agent/sockwarden/kernel/ladder.py), so one kernel's refusal of a
 * program type costs nothing.
 *
 *   fmod_ret, lsm   the connect() fails with EPERM, and so does what would hand a connection over
 *   kprobe          SIGKILL: not a wall, a second thread or io_uring sends its bytes first
 *                   (all three keep the connector's identity, where identity_* can be attached)
 *   tracepoint      reports. guard_listener (Linux 6.3 and later) knows the object; guard_syscall
 *                   knows only the caller's text, and neither io_uring nor 32-bit callers pass it
 *
 * A trampoline skips a program that is active on that CPU already (ca06f55b9002, Linux 5.12), but
 * for lsm (271de525e1d7, Linux 6.2 and 6.1.54), and counts it as a recursion miss. guard_fmod_ret
 * cannot be met so: unix_stream_connect() holds two spin locks around the hook, so nobody else runs
 * there meanwhile, unless the kernel is PREEMPT_RT. receive_fmod_ret can be, on a fully preemptible
 * kernel.
 */
#include <linux/ptrace.h>
#include "receive.h"
#include <bpf/bpf_tracing.h>

char sw_license[] SEC("license") = "GPL";

SEC("fmod_ret/security_unix_stream_connect")
int BPF_PROG(guard_fmod_ret, struct sock *sock, struct sock *other, struct sock *newsk, int ret)
{
	if (ret)
		return ret;
	return sw_guard_connect(ctx, sock, other, newsk, SW_SOURCE_FMOD_RET);
}

SEC("lsm/unix_stream_connect")
int BPF_PROG(guard_lsm, struct sock *sock, struct sock *other, struct sock *newsk, int ret)
{
	if (ret)
		return ret;
	return sw_guard_connect(ctx, sock, other, newsk, SW_SOURCE_LSM);
}

SEC("fmod_ret/security_file_receive")
int BPF_PROG(receive_fmod_ret, struct file *file, int ret)
{
	if (ret)
		return ret;
	return sw_guard_receive(ctx, file);
}

SEC("lsm/file_receive")
int BPF_PROG(receive_lsm, struct file *file, int ret)
{
	if (ret)
		return ret;
	return sw_guard_receive(ctx, file);
}

SEC("kprobe/security_unix_stream_connect")
int BPF_KPROBE(guard_kprobe, struct sock *sock, struct sock *other, struct sock *newsk)
{
	sw_guard_connect(ctx, sock, other, newsk, SW_SOURCE_KPROBE);
	return 0;
}

SEC("fentry/security_sock_graft")
int BPF_PROG(identity_graft, struct sock *sk, struct socket *parent)
{
	sw_grafted(sk, parent);
	return 0;
}

SEC("fentry/security_sk_free")
int BPF_PROG(identity_free, struct sock *sk)
{
	sw_freed(sk);
	return 0;
}

/*
 * unix_stream_connect() wakes the listener when the connection is queued (net/unix/af_unix.c), and
 * sock_def_readable() passes this tracepoint (net/core/sock.c, from Linux 6.3). Any road to
 * connect() comes by, with the connector as current task. Every other socket's data passes too, so
 * the two reads that sort them out come first.
 */
SEC("tp_btf/sk_data_ready")
int BPF_PROG(guard_listener, struct sock *sk)
{
	struct sw_decision decision = {.source = SW_SOURCE_LISTENER};

	if (sk->__sk_common.skc_family != SW_AF_UNIX)
		return 0;
	if (sk->__sk_common.skc_state != SW_TCP_LISTEN)
		return 0;
	sw_decide(ctx, sk, &decision);
	return 0;
}

/* 1 if this connect() cannot matter: the agent's own, or from its own cgroup and mount namespace.
 */
static __always_inline int sw_is_surroundings(const struct sw_config *config)
{
	struct task_struct *task = sw_current();

	return sw_cgroup_id(task) == config->agent_cgroup_id &&
	       sw_mnt_ns(task) == config->agent_mnt_ns;
}

/*
 * Names do not decide: whatever text a process outside the agent's surroundings writes is reported,
 * and user space finds the object. Unreadable memory makes the syscall itself fail later, or is
 * being swapped by another thread: counted, and the record goes out with an empty path.
 */
SEC("tracepoint/syscalls/sys_enter_connect")
int guard_syscall(struct sw_enter_connect *context)
{
	struct sw_config *config = sw_get_config();
	const char *address = (const char *)context->address;
	__u64 size = context->address_bytes;
	struct sw_connect_event *event;
	__u16 family = 0;
	char first = 0;

	if (!config)
		return 0;
	if (bpf_probe_read_user(&family, sizeof(family), address) || family != SW_AF_UNIX)
		return 0;
	sw_count(SW_GUARD_SEEN);
	if (sw_is_agent(config)) {
		sw_count(SW_GUARD_OWN);
		return 0;
	}
	/* No path at all, or an abstract name: neither is a file, and only files are guarded. */
	bpf_probe_read_user(&first, sizeof(first), address + sizeof(family));
	if (size <= sizeof(family) || !first || sw_is_surroundings(config)) {
		sw_count(SW_GUARD_SKIPPED);
		return 0;
	}
	if (!sw_within_budget(SW_REPORTS_PER_SECOND)) {
		sw_count(SW_GUARD_MUTED);
		return 0;
	}
	event = SW_RESERVE(sw_connects, struct sw_connect_event);
	if (!event) {
		sw_count(SW_GUARD_DROPPED);
		return 0;
	}
	sw_fill_header(&event->header, SW_KIND_CONNECT, sizeof(*event));
	sw_fill_actor(&event->actor, sw_current());
	event->inode = 0;
	event->device = 0;
	event->socket_class = SW_CLASS_NONE;
	event->verdict = SW_VERDICT_NONE;
	event->source = SW_SOURCE_SYSCALL;
	__builtin_memset(event->path, 0, sizeof(event->path));
	size -= sizeof(family);
	if (size > sizeof(event->path))
		size = sizeof(event->path); /* the kernel refuses longer ones itself */
	event->path_bytes = size;
	if (bpf_probe_read_user(event->path, size, address + sizeof(family))) {
		event->path_bytes = 0;
		sw_count(SW_GUARD_FAULTS);
	}
	sw_count(SW_SUBMIT(context, sw_connects, event) ? SW_GUARD_DROPPED : SW_GUARD_REPORTED);
	return 0;
}
