/* SPDX-License-Identifier: Apache-2.0 */
/* Unix sockets and HTTP heads, as far as both programs of the benchmark need them. */
#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* No head of the benchmark comes near this; a longer one is a fault. */
#define HEAD_MAX 16384

/* One read of a body: the kernel hands out about 224 KiB at once whatever we offer. */
#define READ_SIZE (256 * 1024)

/* dockerd copies through 32 KiB buffers, so this is the size of its chunks. */
#define CHUNK_SIZE (32 * 1024)

uint64_t now_ns(void);

/* Prints the message with errno (when it is not 0) and ends the program with 1. */
void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* Common start of both programs: no SIGPIPE, and the end of the runner ends us. */
void start_program(void);

void *must_alloc(size_t size);

int unix_connect(const char *path);
int unix_listen(const char *path, int backlog);

/* Both return 0, or -1 when the peer is gone. */
int write_all(int fd, const void *data, size_t len);
int write_text(int fd, const char *text);

/* Length of the head with its blank line, or 0 while that is not there. */
size_t head_length(const char *data, size_t len);

/*
 * Reads until a whole head is in `buf` and returns its length; `used` counts all bytes in `buf`, so
 * that what follows the head is not lost. 0 when the peer closed first.
 */
size_t read_head(int fd, char *buf, size_t size, size_t *used);

/* The value of a header, without leading blanks, or NULL. It ends at the next CR. */
const char *head_value(const char *head, size_t head_len, const char *name);

bool head_says(const char *head, size_t head_len, const char *name, const char *word);

/* The status of a response head, or 0 if it is none. */
int head_status(const char *head, size_t head_len);

#endif
