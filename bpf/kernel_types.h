/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The kernel fields that the guard depends on, and no others: libbpf relocates each access to the
 * running kernel's own layout (CO-RE), so the order and the gaps here mean nothing.
 * Constants that BTF does not carry stand in world.h.
 */
#ifndef SW_KERNEL_TYPES_H
#define SW_KERNEL_TYPES_H

#include <linux/types.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct super_block {
	__u32 s_dev;
	unsigned long s_magic;
};

struct inode {
	unsigned long i_ino;
	struct super_block *i_sb;
};

struct dentry {
	struct inode *d_inode;
};

struct path {
	struct dentry *dentry;
};

struct file {
	struct inode *f_inode;
};

struct sock_common {
	unsigned short skc_family;
	volatile unsigned char skc_state;
};

struct pid;

struct sock {
	struct sock_common __sk_common;
	struct pid *sk_peer_pid;
};

struct unix_sock {
	struct sock sk;
	struct path path;
	struct sock *peer;
};

struct socket {
	struct sock *sk;
};

struct socket_alloc {
	struct socket socket;
	struct inode vfs_inode;
};

struct ns_common {
	unsigned int inum;
	__u64 ns_id; /* from Linux 6.18 */
};

struct pid_namespace {
	struct ns_common ns;
};

struct mnt_namespace {
	struct ns_common ns;
	__u64 seq; /* until Linux 6.17 */
};

struct nsproxy {
	struct mnt_namespace *mnt_ns;
};

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct pid {
	unsigned int level;
	struct upid numbers[1];
};

struct kernfs_node {
	__u64 id;
};

struct cgroup;

struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys_state *parent;
};

struct cgroup_root {
	int hierarchy_id;
};

struct cgroup {
	struct cgroup_subsys_state self;
	int level;
	struct kernfs_node *kn;
	struct cgroup_root *root;
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

struct kuid {
	unsigned int val;
};

struct cred {
	struct kuid uid;
	struct kuid gid;
};

struct task_struct {
	int pid;
	int tgid;
	__u64 start_boottime;
	struct nsproxy *nsproxy;
	struct pid *thread_pid;
	struct task_struct *group_leader;
	struct css_set *cgroups;
	const struct cred *cred;
	char comm[16];
};

struct linux_binprm {
	const char *filename;
};

#pragma clang attribute pop

/* The record of tracepoint syscalls:sys_enter_connect: fixed by the syscall's three arguments. */
struct sw_enter_connect {
	__u64 common;
	__u64 number;
	__u64 fd;
	__u64 address;
	__u64 address_bytes;
};

#endif
