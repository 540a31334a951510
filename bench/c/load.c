// SPDX-License-Identifier: Apache-2.0
/* The load generator: picks the measurement, and keeps its latencies. See load.h for the
 * measurements. */
#include "load.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#define SUB_BITS 7 /* 128 buckets for each power of two */
#define SUB (1u << SUB_BITS)

struct measurement {
	const char *name;
	int args;
	int (*run)(char **args);
};

static const struct measurement measurements[] = {
    {"requests", 4, measure_requests},
    {"download", 2, measure_download},
    {"upload", 4, measure_upload},
    {"echo", 3, measure_echo},
    {"pingpong", 3, measure_pingpong},
    {"halfclose", 4, measure_halfclose},
    {"idle", 2, hold_idle},
    {"stalled", 3, hold_stalled},
};

static unsigned int bucket_of(uint64_t value)
{
	unsigned int shift;

	if (value < SUB)
		return (unsigned int)value;
	shift = 63u - (unsigned int)__builtin_clzll(value) - SUB_BITS;
	return (shift + 1) * SUB + (unsigned int)((value >> shift) - SUB);
}

static uint64_t bucket_value(unsigned int bucket)
{
	unsigned int shift = bucket / SUB;

	return shift ? (uint64_t)(bucket % SUB + SUB) << (shift - 1) : bucket;
}

void histogram_add(struct histogram *h, uint64_t value)
{
	h->count++;
	h->buckets[bucket_of(value)]++;
}

uint64_t histogram_quantile(const struct histogram *h, double share)
{
	uint64_t wanted = (uint64_t)((double)h->count * share);
	uint64_t seen = 0;

	for (unsigned int i = 0; i < sizeof(h->buckets) / sizeof(h->buckets[0]); i++) {
		seen += h->buckets[i];
		if (seen > wanted)
			return bucket_value(i);
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct rlimit limit;

	start_program();
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	for (size_t i = 0; i < sizeof(measurements) / sizeof(measurements[0]); i++)
		if (argc > 1 && !strcmp(argv[1], measurements[i].name) &&
		    argc == measurements[i].args + 2)
			return measurements[i].run(argv + 2);
	errno = 0;
	die("usage: load MEASUREMENT SOCKET ... (see load.h)");
}
