/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How many records the processes of one cgroup may send in one second, so that the flood of one
 * container does not crowd what others do out of a ring. Decides about telling, never about
 * connecting. Who can make cgroups can have many budgets; then the ring itself is the bound, and
 * its drops are counted.
 */
#ifndef SW_BUDGET_H
#define SW_BUDGET_H

#include "actor.h"

#define SW_SECOND_NS 1000000000ULL

struct sw_budget {
	__u64 second;
	__u64 told;
};

/* By the id of the acting cgroup. Written here only. */
SW_LRU_HASH(sw_budgets, __u64, struct sw_budget, SW_BUDGET_ENTRIES);

/* 1 if the current task's cgroup may send one more record now. Two CPUs at once may both take the
 * last one: the bound is no promise to the byte. */
static __always_inline int sw_within_budget(__u64 limit)
{
	__u64 cgroup_id = sw_cgroup_id(sw_current());
	struct sw_budget first = {.second = SW_NOW() / SW_SECOND_NS, .told = 1};
	struct sw_budget *budget = SW_LOOKUP(sw_budgets, &cgroup_id);

	if (!budget) {
		SW_UPDATE(sw_budgets, &cgroup_id, &first);
		return 1;
	}
	if (budget->second != first.second) {
		budget->second = first.second;
		budget->told = 1;
		return 1;
	}
	if (budget->told >= limit)
		return 0;
	budget->told++;
	return 1;
}

#endif
