// SPDX-License-Identifier: Apache-2.0
/* Throughput of long bodies and of hijacked streams, and the round trip of the latter. */
#include "load.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "body.h"

#define COMMON "Host: api.moby.localhost\r\nUser-Agent: Docker-Client/28.2.2 (linux)\r\n"
#define ID64 "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define EXEC_BODY "{\"Detach\":false,\"Tty\":true}"
#define PING_BYTES 64

/* What the docker CLI sends for `exec`; the body is 27 bytes. */
#define REQUEST_EXEC                                                                               \
	"POST /v1.41/exec/" ID64 "/start HTTP/1.1\r\n" COMMON "Content-Length: 27\r\n"             \
	"Connection: Upgrade\r\nContent-Type: application/json\r\nUpgrade: tcp\r\n\r\n" EXEC_BODY

/* And for `attach`, which has no body: some proxies drop the Upgrade of a POST with one. */
#define REQUEST_ATTACH                                                                             \
	"POST /v1.41/containers/" ID64 "/attach?stdin=1&stdout=1&stream=1 HTTP/1.1\r\n" COMMON     \
	"Content-Length: 0\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"

_Static_assert(sizeof(EXEC_BODY) - 1 == 27, "Content-Length of REQUEST_EXEC");

struct sender {
	int fd;
	uint64_t bytes;
	bool failed;
};

static void expect_status(const char *head, size_t head_len, int status)
{
	errno = 0;
	if (!head_len)
		die("the connection ended before an answer");
	if (head_status(head, head_len) != status)
		die("expected %d, got: %.*s", status, (int)head_len, head);
}

static void report_bytes(uint64_t bytes, uint64_t start_ns)
{
	printf("{\"bytes\": %lu, \"seconds\": %.6f}\n", bytes, (double)(now_ns() - start_ns) / 1e9);
}

int measure_download(char **args)
{
	int fd = unix_connect(args[0]);
	uint64_t start_ns = now_ns();
	char request[1024], head[HEAD_MAX];
	size_t used = 0, head_len;
	struct body body;

	snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\n" COMMON "\r\n", args[1]);
	if (write_text(fd, request))
		die("sending the request");
	head_len = read_head(fd, head, sizeof(head), &used);
	expect_status(head, head_len, 200);
	body_begin(&body, head, head_len, true);
	if (body_drain(&body, fd, head + head_len, used - head_len))
		die("the answer ended after %lu bytes", body.payload);
	report_bytes(body.payload, start_ns);
	return 0;
}

static void send_body(int fd, uint64_t bytes, bool chunked)
{
	size_t piece = chunked ? CHUNK_SIZE : READ_SIZE;
	char *buf = must_alloc(piece + 32);

	while (bytes) {
		size_t n = bytes < piece ? (size_t)bytes : piece;
		int line = chunked ? sprintf(buf, "%zx\r\n", n) : 0;

		if (chunked)
			memcpy(buf + line + n, "\r\n", 2);
		if (write_all(fd, buf, (size_t)line + n + (chunked ? 2 : 0)))
			die("sending a body, with %lu bytes to go", bytes);
		bytes -= n;
	}
	if (chunked && write_text(fd, "0\r\n\r\n"))
		die("sending the last chunk");
	free(buf);
}

int measure_upload(char **args)
{
	int fd = unix_connect(args[0]);
	uint64_t bytes = strtoull(args[2], NULL, 10);
	bool chunked = !strcmp(args[3], "chunked");
	uint64_t start_ns = now_ns();
	char framing[64], request[1024], head[HEAD_MAX];
	size_t used = 0, head_len;

	snprintf(framing, sizeof(framing), "Content-Length: %lu", bytes);
	snprintf(request, sizeof(request),
		 "POST %s HTTP/1.1\r\n" COMMON "Content-Type: application/x-tar\r\n%s\r\n\r\n",
		 args[1], chunked ? "Transfer-Encoding: chunked" : framing);
	if (write_text(fd, request))
		die("sending the request");
	send_body(fd, bytes, chunked);
	head_len = read_head(fd, head, sizeof(head), &used);
	expect_status(head, head_len, 200);
	report_bytes(bytes, start_ns);
	return 0;
}

int hijack(const char *path, const char *how)
{
	int fd = unix_connect(path);
	char head[HEAD_MAX];
	size_t used = 0, head_len;

	if (write_text(fd, strcmp(how, "exec") ? REQUEST_ATTACH : REQUEST_EXEC))
		die("sending the request");
	head_len = read_head(fd, head, sizeof(head), &used);
	expect_status(head, head_len, 101);
	if (used != head_len)
		die("%zu bytes behind the 101 before anything was sent", used - head_len);
	return fd;
}

static void *send_all(void *argument)
{
	struct sender *sender = argument;
	char *buf = must_alloc(READ_SIZE);
	uint64_t left = sender->bytes;

	while (left && !sender->failed) {
		size_t n = left < READ_SIZE ? (size_t)left : READ_SIZE;

		sender->failed = write_all(sender->fd, buf, n) != 0;
		left -= n;
	}
	shutdown(sender->fd, SHUT_WR);
	free(buf);
	return NULL;
}

/* Sends `bytes`, shuts the sending side, and returns how many came back before the other side
 * ended. */
static uint64_t echo_all(int fd, uint64_t bytes)
{
	struct sender sender = {.fd = fd, .bytes = bytes};
	char *buf = must_alloc(READ_SIZE);
	uint64_t received = 0;
	pthread_t thread;
	ssize_t n;

	if (pthread_create(&thread, NULL, send_all, &sender))
		die("thread");
	while ((n = read(fd, buf, READ_SIZE)) > 0)
		received += (uint64_t)n;
	pthread_join(thread, NULL);
	free(buf);
	return received;
}

int measure_echo(char **args)
{
	uint64_t bytes = strtoull(args[2], NULL, 10);
	int fd = hijack(args[0], args[1]);
	uint64_t start_ns = now_ns();
	uint64_t received = echo_all(fd, bytes);

	errno = 0;
	if (received != bytes)
		die("%lu of %lu bytes came back", received, bytes);
	report_bytes(bytes, start_ns);
	return 0;
}

int measure_pingpong(char **args)
{
	struct histogram *latencies = must_alloc(sizeof(*latencies));
	unsigned long count = strtoul(args[2], NULL, 10);
	int fd = hijack(args[0], args[1]);
	uint64_t begin_ns = now_ns();
	char buf[PING_BYTES] = {0};

	for (unsigned long i = 0; i < count; i++) {
		uint64_t start_ns = now_ns();
		size_t got = 0;

		if (write_all(fd, buf, sizeof(buf)))
			die("sending");
		while (got < sizeof(buf)) {
			ssize_t n = read(fd, buf + got, sizeof(buf) - got);

			if (n <= 0)
				die("the stream ended in round %lu", i);
			got += (size_t)n;
		}
		histogram_add(latencies, now_ns() - start_ns);
	}
	printf("{\"requests\": %lu, \"seconds\": %.6f, \"p50_us\": %.2f, \"p99_us\": %.2f}\n",
	       count, (double)(now_ns() - begin_ns) / 1e9,
	       (double)histogram_quantile(latencies, 0.50) / 1e3,
	       (double)histogram_quantile(latencies, 0.99) / 1e3);
	return 0;
}

int measure_halfclose(char **args)
{
	unsigned long count = strtoul(args[2], NULL, 10);
	uint64_t bytes = strtoull(args[3], NULL, 10);
	unsigned long right = 0;

	for (unsigned long i = 0; i < count; i++) {
		int fd = hijack(args[0], args[1]);

		right += echo_all(fd, bytes) == bytes;
		close(fd);
	}
	printf("{\"count\": %lu, \"right\": %lu}\n", count, right);
	return 0;
}
