// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* One global of each shared struct, so that its layout stands in this object's BTF. Never loaded.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "abi.h"

struct sw_header sw_layout_header SEC(".data");
struct sw_actor sw_layout_actor SEC(".data");
struct sw_connect_event sw_layout_connect_event SEC(".data");
struct sw_cgroup_event sw_layout_cgroup_event SEC(".data");
struct sw_process_event sw_layout_process_event SEC(".data");
struct sw_socket_key sw_layout_socket_key SEC(".data");
struct sw_verdict_key sw_layout_verdict_key SEC(".data");
struct sw_config sw_layout_config SEC(".data");
enum sw_kind sw_layout_kind SEC(".data");
enum sw_source sw_layout_source SEC(".data");
enum sw_class sw_layout_class SEC(".data");
enum sw_verdict sw_layout_verdict SEC(".data");
enum sw_action sw_layout_action SEC(".data");
enum sw_guard_stat sw_layout_guard_stat SEC(".data");
enum sw_track_stat sw_layout_track_stat SEC(".data");
